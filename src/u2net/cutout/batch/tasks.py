"""Cut out the pictures of a folder: find out what is still to do, and do it once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from u2net.cutout.batch.journal import Journal
from u2net.cutout.batch.plan import Outcome, Task
from u2net.cutout.cutter import Cutter
from u2net.errors import InvalidImage, reason
from u2net.images.limits import read_encoded
from u2net.images.save import save_bytes
from u2net.system.files import first_link, new_folder, sha256_of

Engine = Callable[[Iterable[Task | None]], Iterator[Outcome]]
"""Does tasks, in any order, and gives their outcomes. A task None means that there is nothing to do for the moment."""


def look_up(task: Task, journal: Journal, *, overwrite: bool) -> Task | Outcome:
    """What is to be done for a picture that was planned, or its outcome if that is known already.

    An outcome in the journal holds while size and time of the picture are the same and its file is there; the file
    keeps its name, if it is one that the picture may have: a stranger's journal does not choose. A file that this
    journal does not know is replaced only with `overwrite`. Nothing is written through a link below the output folder.
    """
    before = journal.outcome_of(task.source)
    if before and before.target not in (None, *_possible(task)):
        before = None
    target = (before and before.target) or task.target
    if before and before.is_settled and _is_unchanged(before) and (before.status != "done" or os.path.lexists(target)):
        return replace(before, status="skipped", reason="done before") if before.status == "done" else before
    if link := first_link(target.parent, journal.output):
        return replace(task, target=target).fail(f"{link} is a link, and nothing is written through it")
    if overwrite or (journal.was_begun(task.source) and not target.is_symlink()):
        return Task(task.source, target)
    if not (before and before.target_sha256) and os.path.lexists(target):
        return Outcome(task.source, target, "skipped", f"{target} is there already")
    return Task(task.source, target, before)


def _possible(task: Task) -> tuple[Path, Path]:
    """What the file of a picture may be called, whatever other pictures there are."""
    folder, suffix = task.target.parent, task.target.suffix
    return folder / task.source.with_suffix(suffix).name, folder / f"{task.source.name}{suffix}"


def do_tasks(tasks: Iterable[Task | None], journal: Journal, engine: Engine, tell: Callable[[Outcome], object]) -> None:
    """Have an engine do tasks. The journal notes each start and each outcome; then `tell` gets the outcome."""

    def begun() -> Iterator[Task | None]:
        for task in tasks:
            if task is not None:
                journal.begin(task.source)
            yield task

    for outcome in engine(begun()):
        journal.finish(outcome)
        tell(outcome)


def make(cutter: Cutter, task: Task) -> Outcome:
    """Cut out a picture into its file, which appears whole or not at all.

    A picture with the same content as before stays as it is. Raises what `Cutter.open` does; a bad picture or a full
    disk is a failed outcome.
    """
    try:
        status = task.source.stat()
        content = read_encoded(task.source, cutter.limits)
        after = task.source.stat()
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            return task.fail("changed while it was read")
    except (InvalidImage, OSError, MemoryError) as error:
        return task.fail(why(error, task.source))
    sha256 = hashlib.sha256(content).hexdigest()
    known = replace(task.fail(""), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256)
    try:
        if standing := what_stands(task, known):
            return standing
        cut = cutter(content)
        if cut.status == "done":
            new_folder(task.target.parent)
            save_bytes(cut.content, task.target, follow=False)
            known = replace(known, target_sha256=hashlib.sha256(cut.content).hexdigest())
    except OSError as error:
        return replace(known, reason=why(error, task.source))
    return replace(known, status=cut.status, reason=cut.reason, confidence=cut.confidence)


def what_stands(task: Task, known: Outcome) -> Outcome | None:
    """The outcome if the file of an earlier run is to stay: the source is as it was then, or somebody changed the file.

    `known` is the failed outcome with the source's facts of now. Raises OSError.
    """
    before = task.before
    if not (before and before.target_sha256 and os.path.lexists(task.target)):
        return None
    if before.is_settled and before.sha256 == known.sha256:
        return replace(before, size=known.size, mtime_ns=known.mtime_ns)
    is_file = stat.S_ISREG(task.target.lstat().st_mode)  # no link, and no pipe that nothing comes from
    if is_file and sha256_of(task.target) == before.target_sha256:
        return None
    return replace(known, reason=f"{task.target} was changed since it was made: --overwrite replaces it")


def _is_unchanged(before: Outcome) -> bool:
    try:
        status = before.source.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (before.size, before.mtime_ns)


def why(error: Exception, source: Path) -> str:
    """What went wrong, and with which file, unless that is the picture itself."""
    file = getattr(error, "filename", None)
    return reason(error) + ("" if file in (None, str(source)) else f": {file}")
