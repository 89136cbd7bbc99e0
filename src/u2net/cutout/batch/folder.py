"""A folder's pictures cut out: what is still to be done, and that it is done once, whoever does it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from u2net.cutout.batch.journal import Journal
from u2net.cutout.batch.plan import Job, Outcome, Task

Engine = Callable[[Iterable[Task | None]], Iterator[Outcome]]
"""Does tasks, in any order, and tells what came of each; None says that there is nothing to do for the moment."""


def look_up(job: Job, journal: Journal, *, overwrite: bool) -> Task | Outcome:
    """What is to be done for a picture, or what is known of it already.

    What the journal tells holds while size and time of the picture are the same, and its file is there; the file keeps
    the name that it has. A file that is not of this journal is replaced only with `overwrite`.
    """
    before = journal.told(job.source)
    target = (before and before.target) or job.target
    if before and before.is_settled and _is_unchanged(before) and (before.status != "done" or os.path.lexists(target)):
        return replace(before, status="skipped", reason="done before") if before.status == "done" else before
    if overwrite or journal.was_begun(job.source):
        return Task(job.source, target)
    if not (before and before.target_sha256) and os.path.lexists(target):
        return Outcome(job.source, target, "skipped", f"{target} is there already")
    return Task(job.source, target, before)


def cut_out(tasks: Iterable[Task | None], journal: Journal, engine: Engine, tell: Callable[[Outcome], object]) -> None:
    """Have an engine do tasks; the journal notes what is begun and what came of it, which then is told."""

    def begun() -> Iterator[Task | None]:
        for task in tasks:
            if task is not None:
                journal.begin(task.source)
            yield task

    for outcome in engine(begun()):
        journal.finish(outcome)
        tell(outcome)


def sweep(folders: Iterable[Path]) -> None:
    """Remove what writers that were killed left half written in these folders, some of which may not be there."""
    for folder in folders:
        for part in folder.glob(f".{'[0-9a-f]' * 16}.part"):  # as atomic_write names them
            with contextlib.suppress(OSError):
                part.unlink()


def _is_unchanged(before: Outcome) -> bool:
    try:
        status = before.source.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (before.size, before.mtime_ns)
