"""Which picture of a folder becomes which file, and what came of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from u2net.cutout.cutter import Status
from u2net.errors import reason
from u2net.images.load import SUFFIXES


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one picture, and the facts that show later whether this still holds."""

    source: Path
    target: Path | None
    """None if there is no file that it could become."""
    status: Status
    reason: str = ""
    """One line that says why it was skipped or failed."""
    confidence: float | None = None
    """How sure the network is that the picture shows a subject, 0 to 1; None if the picture was not looked at."""
    size: int | None = None
    """Bytes of the source when it was read; None if it was not read."""
    mtime_ns: int | None = None
    sha256: str = ""
    """Of the source; empty if it was not read."""
    target_sha256: str = ""
    """Of the file that was written, now or from an earlier version of the source; empty if none was."""

    @property
    def is_settled(self) -> bool:
        """Whether another try with the same picture would give the same; a picture that could not be read is not."""
        return self.status == "done" or self.confidence is not None


@dataclass(frozen=True, slots=True)
class Task:
    """A picture and the file that it becomes."""

    source: Path
    target: Path
    before: Outcome | None = None
    """What came of the picture in an earlier run. The file of then is replaced, unless somebody changed it since."""

    def fail(self, reason: str) -> Outcome:
        """The outcome if nothing was made. A file of an earlier run stays, and stays known."""
        known = self.before.target_sha256 if self.before else ""
        return Outcome(self.source, self.target, "failed", reason, target_sha256=known)


def plan(folder: Path, output: Path, suffix: str) -> tuple[list[Task], list[Outcome]]:
    """A task for every picture below `folder`, and the pictures that are known to fail.

    Sub-folders are kept, and `assign_targets` names the files. If two pictures would become the same file even so, or
    a file would replace a picture of `folder`, none of these is made. Hidden files, files that are not pictures, and
    `output` itself if it lies inside are left out. Links to folders are not followed.
    """
    sources, failures = _find(folder, output)
    targets, clashes = assign_targets([source.relative_to(folder) for source in sources], suffix)
    failures += (Outcome(folder / clash.source, None, "failed", clash.reason) for clash in clashes)
    taken = {os.path.realpath(source) for source in sources}  # unlike Path.resolve, it accepts loops of links
    tasks = []
    for name, target in targets.items():
        task = Task(folder / name, output / target)
        if os.path.realpath(task.target) in taken:
            failures.append(Outcome(task.source, None, "failed", f"would replace the picture {task.target}"))
        else:
            tasks.append(task)
    return tasks, failures


def assign_targets(names: Sequence[Path], suffix: str) -> tuple[dict[Path, Path], list[Outcome]]:
    """The file that each picture becomes, by its name, and a failure for each picture that has no file of its own.

    A file has the picture's name with `suffix` instead of its own suffix. Pictures that would meet there (a.jpg, a.png)
    keep their whole names and get `suffix` behind it (a.jpg.png, a.png.png).
    """
    short = [name.with_suffix(suffix) for name in names]
    times = Counter(map(_folded, short))
    targets = [
        name.with_name(name.name + suffix) if times[_folded(target)] > 1 else target
        for name, target in zip(names, short, strict=True)
    ]
    times = Counter(map(_folded, targets))
    alone, clashes = {}, []
    for name, target in zip(names, targets, strict=True):
        if times[_folded(target)] == 1:
            alone[name] = target
        else:
            clashes.append(Outcome(name, None, "failed", f"another picture would become {target} too"))
    return alone, clashes


def _find(folder: Path, output: Path) -> tuple[list[Path], list[Outcome]]:
    """Pictures below a folder in the order of their names, and a failure for each folder that cannot be read."""
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


def _folded(name: Path) -> str:
    """A name as it is on disks that do not distinguish upper and lower case."""
    return str(name).casefold()
