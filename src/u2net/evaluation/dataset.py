"""Pictures and their masks, matched by name, in folders and archives of any layout."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidDataset
from u2net.images.formats import SUFFIXES
from u2net.images.load import load_image, load_stored

_MASK_FOLDER = re.compile(r"(?i:mask|ground|truth|label|annot|alpha|matte)|GT|(?<![A-Za-z])gt(?![a-z])")


@dataclass(frozen=True)
class Source:
    """One file, on disk or inside an archive."""

    path: Path
    """The file, or the archive."""
    inside: tuple[str, int, int] | None = None
    """Inside an archive: name, position of the first byte, and length."""

    @property
    def name(self) -> PurePosixPath:
        """Its name with its folders."""
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
    """In words: which folders hold pictures and which hold masks."""
    examples: list[Example] = field(repr=False)
    duplicates: list[tuple[Source, Source]] = field(default_factory=list, repr=False)
    """For each file left out: the file of the same name that was taken, and itself; none in a strict data set."""

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def part(self, index: int, num: int) -> Dataset:
        """Every `num`-th example from `index` on: the share of one of `num` processes."""
        return replace(self, examples=self.examples[index::num])


def open_dataset(root: str | PathLike[str], *, strict: bool = True) -> Dataset:
    """Find the pictures and masks below a folder, or in a tar archive, in any layout.

    Masks are in folders with "mask", "gt", "ground", "label" … in their names, as in DUTS, ECSSD, PASCAL-S, HKU-IS,
    DUT-OMRON and SOD. If there is no such folder, masks are the .png files beside .jpg files of the same name. Raises
    InvalidDataset, naming the folders, if it finds no pictures or no masks, and as `match_names` does.
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
    return match_names(images, masks, root.stem, strict=strict)


def open_pairs(images: str | PathLike[str] | None, masks: str | PathLike[str], *, strict: bool = True) -> Dataset:
    """The pictures of one folder or archive with the masks of another; without `images`, the masks alone.

    Raises InvalidDataset if either holds no pictures and, if `strict`, if no picture has a mask, and as `match_names`.
    """
    mask_sources = list_sources(Path(masks))
    image_sources = list_sources(Path(images)) if images is not None else []
    name = Path(masks).stem if images is None else Path(images).stem
    dataset = match_names(image_sources, mask_sources, name, strict=strict)
    if strict and images is not None and not any(example.image and example.mask for example in dataset):
        raise InvalidDataset(f"no picture of {images} has the name of a mask of {masks}")
    return dataset


def list_sources(root: Path) -> list[Source]:
    """Every file with a picture's suffix below a folder, or in a tar archive, sorted by name.

    Hidden files are left out; links to folders are not followed. Raises InvalidDataset if there is none.
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
    num_above = len(PurePosixPath(root.as_posix()).parts) if root.is_dir() else 0
    sources = [
        source
        for source in sources
        if source.name.suffix.lower() in SUFFIXES
        and not any(re.match(r"\.(?!\.?$)", part) for part in source.name.parts[num_above:])  # hidden
    ]
    if not sources:
        raise InvalidDataset(f"{root} holds no pictures")
    return sorted(sources, key=lambda source: source.name)


def by_stem(sources: Iterable[Source], *, strict: bool = True) -> tuple[dict[str, Source], list[tuple[Source, Source]]]:
    """The first source of each name, without folder and suffix; and for each other source, the first and itself.

    Raises InvalidDataset for two sources of one name if `strict`.
    """
    named: dict[str, Source] = {}
    firsts = [(named.setdefault(source.name.stem, source), source) for source in sources]
    duplicates = [(first, source) for first, source in firsts if first is not source]
    if strict and duplicates:
        first, source = duplicates[0]
        raise InvalidDataset(f"two files are called {source.name.stem}: {first.name} and {source.name}")
    return named, duplicates


def match_names(images: Iterable[Source], masks: Iterable[Source], name: str, *, strict: bool = True) -> Dataset:
    """Match pictures and masks that have the same name without folder and suffix.

    Two pictures or two masks of one name raise InvalidDataset if `strict`; otherwise the first is taken and the others
    become `duplicates` of the data set.
    """
    images_by_stem, spare_images = by_stem(images, strict=strict)
    masks_by_stem, spare_masks = by_stem(masks, strict=strict)
    examples = [
        Example(stem, images_by_stem.get(stem), masks_by_stem.get(stem))
        for stem in sorted(images_by_stem.keys() | masks_by_stem.keys())
    ]
    layout = f"pictures: {_folders(images_by_stem)}; masks: {_folders(masks_by_stem)}"
    return Dataset(name, layout, examples, spare_images + spare_masks)


def named_uniquely(datasets: Iterable[Dataset]) -> list[Dataset]:
    """The data sets; if two have one name, the second becomes "name-2"."""
    named: dict[str, Dataset] = {}
    for dataset in datasets:
        name, count = dataset.name, 1
        while name in named:
            count += 1
            name = f"{dataset.name}-{count}"
        named[name] = replace(dataset, name=name)
    return list(named.values())


def load_grey(source: Source) -> NDArray[np.uint8]:
    """A map or mask, uint8 (H, W), 0 to 255, from a picture of any mode.

    Of colours it takes the luminance, of a picture of one colour with transparency the alpha; a mask of only 0 and 1
    becomes 0 and 255. Raises InvalidImage or OSError.
    """
    picture = load_image(source.read())
    if picture.alpha is not None and not np.diff(picture.rgb.getextrema()).any():  # of one colour
        grey = np.asarray(picture.alpha)
    else:
        grey = np.asarray(picture.rgb.convert("L"))
    return grey * np.uint8(255) if grey.max() == 1 else grey


def load_indices(source: Source) -> NDArray[np.uint8]:
    """A mask of several classes, uint8 (H, W): the palette index or grey level of each pixel, unconverted.

    Raises InvalidImage or OSError, as `load_stored` does.
    """
    return load_stored(source.read())


def _folders(sources: dict[str, Source]) -> str:
    """How many files lie in which folders, in words."""
    counts = Counter(f"{source.name.parent.name or '.'}/*{source.name.suffix}" for source in sources.values())
    return ", ".join(f"{num} in {folder}" for folder, num in counts.items()) or "none"
