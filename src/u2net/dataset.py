"""Pictures and their ground truth, matched by name, in the folders and archives that people have."""

from __future__ import annotations

import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path, PurePosixPath

from u2net.errors import InvalidDataset
from u2net.image import SUFFIXES

_MASK_FOLDER = re.compile(r"(?i:mask|ground|truth|label|annot|alpha|matte)|GT|(?<![A-Za-z])gt(?![a-z])")


@dataclass(frozen=True)
class Source:
    """One file: on the disk, or within an archive."""

    path: Path
    """The file, or the archive."""
    inside: tuple[str, int, int] | None = None
    """Within an archive: name, position of the first byte, and length."""

    @property
    def name(self) -> PurePosixPath:
        """Its name, with the folders that it lies in."""
        return PurePosixPath(self.inside[0] if self.inside else self.path.as_posix())

    def read(self) -> bytes:
        """Its bytes. Raises OSError if they cannot be read."""
        if self.inside is None:
            return self.path.read_bytes()
        _, start, length = self.inside
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)


@dataclass(frozen=True)
class Example:
    """One picture with its ground truth; either may be missing."""

    name: str
    image: Source | None
    mask: Source | None


@dataclass(frozen=True)
class Dataset:
    """Examples in the order of their names."""

    name: str
    layout: str
    """In words, for people: which folders were taken for what."""
    examples: list[Example] = field(repr=False)

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)


def open_dataset(root: str | PathLike[str]) -> Dataset:
    """The pictures and masks below a folder, or in a tar archive, however they are laid out.

    Folders are told apart by their names (masks lie where "mask", "gt", "ground", "label" … stand in it), as in DUTS,
    ECSSD, PASCAL-S, HKU-IS, DUT-OMRON and SOD; where no name helps, masks are the .png files beside .jpg files of the
    same name. Raises InvalidDataset, naming what was found, if that does not give both.
    """
    root = Path(root)
    sources = list_sources(root)
    above = root.as_posix() if root.is_dir() else "."
    masks: list[Source] = []
    images: list[Source] = []
    for source in sources:
        (masks if _MASK_FOLDER.search(str(source.name.parent.relative_to(above))) else images).append(source)
    if not masks:
        twins = {s.name.with_suffix("") for s in sources if s.name.suffix.lower() in (".jpg", ".jpeg")}
        masks = [s for s in sources if s.name.suffix.lower() == ".png" and s.name.with_suffix("") in twins]
        images = [s for s in sources if s.name.with_suffix("") in twins and s not in masks]
    if not masks or not images:
        folders = ", ".join(sorted({s.name.parent.name or "." for s in sources})) or "none"
        raise InvalidDataset(f"{root}: found no pictures with masks beside them; folders with pictures: {folders}")
    return pair(images, masks, root.stem)


def open_pairs(images: str | PathLike[str] | None, masks: str | PathLike[str]) -> Dataset:
    """The pictures of one folder or archive and the masks of another; without `images` the masks alone.

    Raises InvalidDataset if either holds no pictures, or none of their names meet.
    """
    mask_sources = list_sources(Path(masks))
    image_sources = list_sources(Path(images)) if images is not None else []
    dataset = pair(image_sources, mask_sources, Path(masks).stem if images is None else Path(images).stem)
    if images is not None and not any(example.image and example.mask for example in dataset):
        raise InvalidDataset(f"no picture of {images} has the name of a mask of {masks}")
    return dataset


def list_sources(root: Path) -> list[Source]:
    """Every file with a picture's suffix below a folder, or in a tar archive, in the order of names.

    Hidden files are left out, links to folders not followed. Raises InvalidDataset if there is none.
    """
    if root.is_dir():
        sources = [Source(path) for path in root.rglob("*") if path.is_file()]
    elif root.is_file():
        try:
            with tarfile.open(root, "r:") as archive:  # uncompressed, so that files can be read where they lie
                members = [member for member in archive if member.isfile()]
        except tarfile.TarError:
            raise InvalidDataset(f"{root} is neither a folder nor an uncompressed tar archive") from None
        sources = [Source(root, (member.name, member.offset_data, member.size)) for member in members]
    else:
        raise InvalidDataset(f"there is no {root}")
    hidden = len(PurePosixPath(root.as_posix()).parts) if root.is_dir() else 0
    sources = [s for s in sources if s.name.suffix.lower() in SUFFIXES and not _is_hidden(s, hidden)]
    if not sources:
        raise InvalidDataset(f"{root} holds no pictures")
    return sorted(sources, key=lambda source: source.name)


def by_stem(sources: Iterable[Source]) -> dict[str, Source]:
    """Sources by their names without folder and suffix. Raises InvalidDataset for two of one name."""
    named: dict[str, Source] = {}
    for source in sources:
        if source.name.stem in named:
            first = named[source.name.stem].name
            raise InvalidDataset(f"two files are called {source.name.stem}: {first} and {source.name}")
        named[source.name.stem] = source
    return named


def pair(images: Iterable[Source], masks: Iterable[Source], name: str) -> Dataset:
    """Match pictures and masks whose names, without folder and suffix, are the same. Raises as `by_stem` does."""
    images_by_stem, masks_by_stem = by_stem(images), by_stem(masks)
    examples = [
        Example(stem, images_by_stem.get(stem), masks_by_stem.get(stem))
        for stem in sorted(images_by_stem.keys() | masks_by_stem.keys())
    ]
    layout = f"pictures: {_folders(images_by_stem)}; masks: {_folders(masks_by_stem)}"
    return Dataset(name, layout, examples)


def _folders(sources: dict[str, Source]) -> str:
    """How many files lie in which folders, in words."""
    counts: defaultdict[str, int] = defaultdict(int)
    for source in sources.values():
        counts[f"{source.name.parent.name or '.'}/*{source.name.suffix}"] += 1
    return ", ".join(f"{num} in {folder}" for folder, num in counts.items()) or "none"


def _is_hidden(source: Source, num_above: int) -> bool:
    """Whether a name below the root starts with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in source.name.parts[num_above:])
