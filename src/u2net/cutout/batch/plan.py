"""Which picture becomes which file, one file made, and what came of it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from u2net.cutout.cutter import Cutter, Status
from u2net.errors import InvalidImage, reason
from u2net.images.load import SUFFIXES, read_encoded
from u2net.images.save import save_bytes


@dataclass(frozen=True)
class Job:
    """One picture and the file that it becomes."""

    source: Path
    target: Path


def plan(folder: Path, output: Path, suffix: str) -> tuple[list[Job], list[Outcome]]:
    """A target under `output` for every picture below `folder`, and the failures known beforehand.

    The sub-tree is kept, and `target_names` names the targets. If targets meet even so, or one is a picture of
    `folder`, none of these is made. Names that start with a dot, other files, and `output` itself where it lies inside
    are left out; links to folders are not followed.
    """
    sources, failures = _find(folder, output)
    names = target_names([source.relative_to(folder) for source in sources], suffix)
    taken = {os.path.realpath(source) for source in sources}  # unlike Path.resolve, it bears loops of links
    jobs = []
    for source, (name, is_alone) in zip(sources, names, strict=True):
        target = output / name
        if not is_alone:
            failures.append(Outcome(source, None, "failed", f"another picture would become {name} too"))
        elif os.path.realpath(target) in taken:
            failures.append(Outcome(source, None, "failed", f"would replace the picture {target}"))
        else:
            jobs.append(Job(source, target))
    return jobs, failures


def target_names(sources: Sequence[Path], suffix: str) -> list[tuple[Path, bool]]:
    """What each path of a folder becomes, and whether nothing else becomes the same.

    It is named with `suffix` instead of its own; those that would meet there (a.jpg, a.png) keep their whole names and
    get `suffix` behind it (a.jpg.png, a.png.png).
    """
    short = [path.with_suffix(suffix) for path in sources]
    times = Counter(map(_spot, short))
    names = [
        path.with_name(path.name + suffix) if times[_spot(name)] > 1 else name
        for path, name in zip(sources, short, strict=True)
    ]
    times = Counter(map(_spot, names))
    return [(name, times[_spot(name)] == 1) for name in names]


def _find(folder: Path, output: Path) -> tuple[list[Path], list[Outcome]]:
    """Pictures below a folder in the order of their names, and folders that cannot be read."""
    pictures: list[Path] = []
    unreadable: list[Outcome] = []

    def note(error: OSError) -> None:
        unreadable.append(Outcome(Path(error.filename), None, "failed", reason(error)))

    own = os.path.realpath(output)
    for name, folders, files in os.walk(folder, onerror=note):
        here = Path(name)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and os.path.realpath(here / f) != own)
        pictures += (here / f for f in sorted(files) if not f.startswith(".") and Path(f).suffix.lower() in SUFFIXES)
    return pictures, unreadable


def _spot(name: Path) -> str:
    """Where a name lies on disks that do not tell upper from lower case."""
    return str(name).casefold()


@dataclass(frozen=True, slots=True)
class Task:
    """A picture to be cut out into a file."""

    source: Path
    target: Path
    before: Outcome | None = None
    """What came of it in another state, or perhaps the same. The file of then is replaced, but not if it was changed
    by somebody since."""

    def fail(self, reason: str) -> Outcome:
        """What came of it where nothing was made; what is there stays, and stays known."""
        known = self.before.target_sha256 if self.before else ""
        return Outcome(self.source, self.target, "failed", reason, target_sha256=known)


def make(cutter: Cutter, task: Task) -> Outcome:
    """Cut out a picture into its file, which appears whole or not at all, and tell what came of it.

    A picture with the content that it had before stays as it is. Raises what `Cutter.open` does, and nothing for
    pictures and files.
    """
    before = task.before
    try:
        status = task.source.stat()
        content = read_encoded(task.source)
        after = task.source.stat()
        if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            return task.fail("changed while it was read")
    except (InvalidImage, OSError, MemoryError) as error:
        return task.fail(_reason(error, task.source))
    sha256 = hashlib.sha256(content).hexdigest()
    known = replace(task.fail(""), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=sha256)
    try:
        if before and before.target_sha256 and os.path.lexists(task.target):
            if before.is_settled and before.sha256 == sha256:
                return replace(before, size=known.size, mtime_ns=known.mtime_ns)
            if _digest(task.target) != before.target_sha256:
                return replace(known, reason=f"{task.target} was changed since it was made: --overwrite replaces it")
        cut = cutter(content)
        if cut.status == "done":
            task.target.parent.mkdir(parents=True, exist_ok=True)
            save_bytes(cut.content, task.target)
            known = replace(known, target_sha256=hashlib.sha256(cut.content).hexdigest())
    except OSError as error:
        return replace(known, reason=_reason(error, task.source))
    return replace(known, status=cut.status, reason=cut.reason, confidence=cut.confidence)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception, source: Path) -> str:
    """What went wrong, and where, unless that is the picture itself."""
    where = getattr(error, "filename", None)
    return reason(error) + ("" if where in (None, str(source)) else f": {where}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one picture, and what shows later whether it still holds."""

    source: Path
    target: Path | None
    """None if there is no file that it could become."""
    status: Status
    reason: str = ""
    """One line for what was not done."""
    confidence: float | None = None
    """How sure it is that the picture shows a subject, 0 to 1; None where nobody looked."""
    size: int | None = None
    """Bytes of the source when it was read; None where it was not."""
    mtime_ns: int | None = None
    sha256: str = ""
    """Of the source; empty where it was not read."""
    target_sha256: str = ""
    """Of the file that was written, now or from an earlier state of the source; empty where none was."""

    @property
    def is_settled(self) -> bool:
        """Whether looking again at the same picture would come to the same; only what could not be read might not."""
        return self.status == "done" or self.confidence is not None
