"""Which picture of a folder becomes which file, and what came of it."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

from u2net.cutout.cutter import Status
from u2net.errors import reason
from u2net.images.formats import HEAD, SUFFIXES, kind_of
from u2net.system.files import leads_back, walk


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


@dataclass(frozen=True)
class Plan:
    """What is to be done for the pictures of a folder, or for a list of them."""

    tasks: list[Task]
    failures: list[Outcome]
    """Pictures that have no file of their own to become, and folders that cannot be read."""
    left_alone: Counter[str] = field(default_factory=Counter)
    """How many files are no pictures, by their suffix in lower case."""

    @cached_property
    def sources(self) -> set[Path]:
        """What the tasks are of."""
        return {task.source for task in self.tasks}


def plan(
    folder: Path, output: Path, suffix: str, *, case_folds: bool | None = None, kinds: Collection[str] | None = None
) -> Plan:
    """A task for every picture below `folder`; its suffix or, where that is another, its content shows that it is one.

    With `kinds` there is a task for every file with one of these suffixes instead.

    Sub-folders are kept, and `assign_targets` names the files. Hidden files, and `output` itself if it lies inside, are
    left out. Links to folders are followed, but not to a folder that they lie in. `case_folds` is what `folds_case`
    finds out of the disk of `output`, where that is no disk.
    """
    sources, failures, left_alone = _find(folder, output, kinds)
    names = {source: source.relative_to(folder) for source in sources}
    made = _plan(names, output, suffix, folds_case=folds_case(output) if case_folds is None else case_folds)
    return replace(made, failures=failures + made.failures, left_alone=left_alone)


def plan_files(sources: Sequence[Path], output: Path | None, suffix: str) -> Plan:
    """A task for each of these pictures, into the folder `output`; without it, NAME.out.SUFFIX beside each picture."""
    if output is not None:
        return _plan({source: Path(source.name) for source in sources}, output, suffix, folds_case=folds_case(output))
    # By where folders really are: a.jpg and ./a.png would meet, too.
    names = {source: Path(os.path.realpath(source.parent), source.name) for source in sources}
    made = _plan(names, Path(), f".out{suffix}", folds_case=any(folds_case(source.parent) for source in sources))
    return replace(made, tasks=[Task(task.source, task.source.with_name(task.target.name)) for task in made.tasks])


def _plan(names: Mapping[Path, Path], output: Path, suffix: str, *, folds_case: bool) -> Plan:
    """Tasks for pictures, {source: name below output}; a file that would replace one of them is not made."""
    targets, failures = assign_targets(names, suffix, folds_case=folds_case)

    def real(path: Path) -> str:
        place = os.path.realpath(path)  # unlike Path.resolve, it accepts loops of links
        return place.casefold() if folds_case else place

    taken = set(map(real, names))
    tasks = []
    for source, target in targets.items():
        task = Task(source, output / target)
        if real(task.target) in taken:
            failures.append(Outcome(source, None, "failed", f"would replace the picture {task.target}"))
        else:
            tasks.append(task)
    return Plan(tasks, failures)


def assign_targets(
    names: Mapping[Path, Path], suffix: str, *, folds_case: bool
) -> tuple[dict[Path, Path], list[Outcome]]:
    """The file that each picture becomes, and a failure for each picture that has no file of its own.

    `names` has each picture's name by its source. Its file has that name with `suffix` instead of its own suffix.
    Pictures that would meet there (a.jpg, a.png) keep their whole names and get `suffix` behind it (a.jpg.png,
    a.png.png); those that would become the same file even so are not made. Where a disk `folds_case`, names that
    differ by case only are the same.
    """

    def folded(target: Path) -> str:
        return str(target).casefold() if folds_case else str(target)

    short = {source: name.with_suffix(suffix) for source, name in names.items()}
    times = Counter(map(folded, short.values()))
    targets = {
        source: name.with_name(name.name + suffix) if times[folded(short[source])] > 1 else short[source]
        for source, name in names.items()
    }
    times = Counter(map(folded, targets.values()))
    alone, failures = {}, []
    for source, target in targets.items():
        if times[folded(target)] == 1:
            alone[source] = target
        else:
            failures.append(Outcome(source, None, "failed", f"another picture would become {target} too"))
    return alone, failures


@cache
def folds_case(folder: Path) -> bool:
    """Whether a disk takes names that differ by case only for the same, as those of Windows and macOS do.

    A file is there for a moment to find out; where none can be written, the answer is yes.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with NamedTemporaryFile(prefix=".u2net-", dir=folder) as file:
            return Path(file.name).with_name(Path(file.name).name.upper()).exists()
    except OSError:
        return True


def _is_same(folder: Path, other: Path) -> bool:
    try:
        return folder.samefile(other)  # asks once, where realpath looks at each folder above: slow if there are many
    except OSError:
        return False


_RAW = frozenset((".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"))
"""Cameras' raw pictures: their content looks like TIFF, and shows a small preview alone."""


def _find(folder: Path, output: Path, kinds: Collection[str] | None) -> tuple[list[Path], list[Outcome], Counter[str]]:
    """Pictures, or files of `kinds`, below a folder in the order of their names; unreadable folders; other files."""
    pictures: list[Path] = []
    unreadable: list[Outcome] = []
    others: Counter[str] = Counter()

    def note(error: OSError) -> None:
        unreadable.append(Outcome(Path(error.filename), None, "failed", reason(error)))

    for here, folders, files in walk(folder, note, follow=True):
        folders[:] = sorted(
            f for f in folders if not (f.startswith(".") or _is_same(here / f, output) or leads_back(here / f, folder))
        )
        for file in sorted(f for f in files if not f.startswith(".")):
            path, suffix = here / file, Path(file).suffix.lower()
            if kinds is not None:
                is_wanted = suffix in kinds
            else:
                is_wanted = suffix in SUFFIXES or (suffix not in _RAW and holds_picture(path))
            if is_wanted:
                pictures.append(path)
            else:
                others[suffix] += 1
    return pictures, unreadable, others


def holds_picture(path: Path) -> bool:
    """Whether a file begins as a picture does, whatever its name; False if it cannot be read."""
    try:
        status = path.stat()
        return stat.S_ISREG(status.st_mode) and _begins_as_picture(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return False


@lru_cache(maxsize=100_000)  # a watched folder is looked at every second
def _begins_as_picture(path: Path, _mtime_ns: int, _size: int) -> bool:
    with path.open("rb") as file:
        return kind_of(file.read(HEAD)) is not None
