"""Which picture of a folder becomes which file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from u2net.batch.outcome import Outcome
from u2net.errors import reason
from u2net.image import SUFFIXES


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
