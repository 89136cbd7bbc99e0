"""Pictures and their masks, matched by name, in folders and archives of any layout."""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidDataset
from u2net.evaluation.layout import advise, name_before, split_by_role
from u2net.images.formats import SUFFIXES
from u2net.images.load import load_image, load_stored
from u2net.system.files import leads_back, walk


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

    @property
    def is_pair(self) -> bool:
        """Whether both are there."""
        return self.image is not None and self.mask is not None


@dataclass(frozen=True)
class Dataset:
    """Examples in the order of their names."""

    name: str
    layout: str
    """In words: which folders hold pictures and which hold masks."""
    examples: list[Example] = field(repr=False)
    duplicates: list[tuple[str, Source, Source]] = field(default_factory=list, repr=False)
    """For each file left out: its name, the file of this name that was taken, and itself; none in a strict data set."""

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def part(self, index: int, num: int) -> Dataset:
        """Every `num`-th example from `index` on: the share of one of `num` processes."""
        return replace(self, examples=self.examples[index::num])


def open_dataset(root: str | PathLike[str], *, strict: bool = True, mask_suffix: str = "") -> Dataset:
    """Find the pictures and masks below a folder, or in a tar archive, in any layout.

    The names of folders tell which is which (see `role_of`), as in DUTS, ECSSD, PASCAL-S, HKU-IS, DUT-OMRON, SOD,
    PASCAL VOC, AM-2k and P3M-10k; if they do not, masks are the .png files beside .jpg files of the same name. With
    `mask_suffix`, as in NAME_mask.png, masks are the files whose names end so, if there are any. Raises InvalidDataset,
    with what would do, if it finds no pictures or no masks and, if `strict`, if no two have one name, or three have.
    """
    root = Path(root)
    sources = list_sources(root)
    images, masks = split_by_role(sources, mask_suffix)
    if not masks or not images:
        folders = ", ".join(sorted({s.name.parent.name or "." for s in sources}))
        told = f"found no pictures with masks beside them; folders with pictures: {folders}{_lost_links(root)}"
        raise InvalidDataset(f"{root}: {told}; {advise(sources)}")
    try:
        dataset = match_names(images, masks, root.stem, strict=strict, mask_suffix=mask_suffix)
    except InvalidDataset as error:
        raise InvalidDataset(f"{root}: {error}; {advise(sources)}") from None
    taken = {*images, *masks}
    if left_alone := [source for source in sources if source not in taken]:
        dataset = replace(dataset, layout=f"{dataset.layout}; left alone: {_folders(left_alone)}")
    if strict and not any(example.is_pair for example in dataset):
        raise InvalidDataset(f"{root}: no picture has a mask of the same name; {dataset.layout}; {advise(sources)}")
    return dataset


def open_pairs(
    images: str | PathLike[str] | None, masks: str | PathLike[str], *, strict: bool = True, mask_suffix: str = ""
) -> Dataset:
    """The pictures of one folder or archive with the masks of another; without `images`, the masks alone.

    With `mask_suffix` only files whose names end so are masks, if there are any. Raises InvalidDataset if either holds
    no pictures and, if `strict`, if no picture has a mask, and as `match_names`.
    """
    mask_sources = list_sources(Path(masks))
    image_sources = list_sources(Path(images)) if images is not None else []
    if mask_suffix and any(name_before(source, mask_suffix) for source in mask_sources):
        mask_sources = [source for source in mask_sources if name_before(source, mask_suffix)]
        known = set(mask_sources)  # pictures may lie in the same folder
        image_sources = [source for source in image_sources if source not in known]
    name = Path(masks).stem if images is None else Path(images).stem
    dataset = match_names(image_sources, mask_sources, name, strict=strict, mask_suffix=mask_suffix)
    if strict and images is not None and not any(example.is_pair for example in dataset):
        told = f"no picture of {images} has the name of a mask of {masks}"
        raise InvalidDataset(f"{told}; {advise([*image_sources, *mask_sources])}")
    return dataset


def list_sources(root: Path) -> list[Source]:
    """Every file with a picture's suffix below a folder, or in a tar archive, sorted by name.

    Hidden files are left out. Links to folders are followed, but each folder is read once, by its own name rather than
    a link's, and links to a folder above them are left alone. Raises InvalidDataset if there is none.
    """
    if root.is_dir():
        sources = [Source(path) for path in _files_below(root)]
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
        raise InvalidDataset(f"{root} holds no pictures{_lost_links(root)}")
    return sorted(sources, key=lambda source: source.name)


def spread(sources: list[Source], num: int) -> list[Source]:
    """So many of these, or all if there are fewer, at equal distances."""
    return sources[:: max(1, len(sources) // num)][:num]


def _files_below(root: Path) -> list[Path]:
    """The files below a folder, and below those that links in it lead to."""
    files: list[Path] = []
    seen: set[str] = set()
    waiting = deque([root])
    while waiting:  # links come after all folders that are reached without them
        for here, folders, names in walk(waiting.popleft()):
            real = os.path.realpath(here)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith(".")]
            links = [here / name for name in folders if (here / name).is_symlink()]
            waiting += [link for link in links if not leads_back(link, root)]
            files += [here / name for name in names if (here / name).is_file()]
    return files


def _lost_links(root: Path) -> str:
    """Which links in a folder lead nowhere, as those to a disk that is not there, in words; empty if none does."""
    if not root.is_dir():
        return ""
    lost = sorted(path.name for path in root.iterdir() if path.is_symlink() and not path.exists())
    return f"; links that lead nowhere: {', '.join(lost)}" if lost else ""


def by_stem(
    sources: Iterable[Source], *, strict: bool = True, suffix: str = ""
) -> tuple[dict[str, Source], list[tuple[str, Source, Source]]]:
    """The first source of each name, without folder, kind and `suffix`; and for each other, name, first and itself.

    Raises InvalidDataset for two sources of one name if `strict`.
    """
    named: dict[str, Source] = {}
    stems = ((name_before(source, suffix) or source.name.stem, source) for source in sources)
    firsts = [(stem, named.setdefault(stem, source), source) for stem, source in stems]
    duplicates = [(stem, first, source) for stem, first, source in firsts if first is not source]
    if strict and duplicates:
        stem, first, source = duplicates[0]
        raise InvalidDataset(f"two files are called {stem}: {first.name} and {source.name}")
    return named, duplicates


def match_names(
    images: Iterable[Source], masks: Iterable[Source], name: str, *, strict: bool = True, mask_suffix: str = ""
) -> Dataset:
    """Match pictures and masks that have the same name without folder and kind, and masks without `mask_suffix`.

    Two pictures or two masks of one name raise InvalidDataset if `strict`; otherwise the first is taken and the others
    become `duplicates` of the data set.
    """
    images_by_stem, spare_images = by_stem(images, strict=strict)
    masks_by_stem, spare_masks = by_stem(masks, strict=strict, suffix=mask_suffix)
    examples = [
        Example(stem, images_by_stem.get(stem), masks_by_stem.get(stem))
        for stem in sorted(images_by_stem.keys() | masks_by_stem.keys())
    ]
    layout = f"pictures: {_folders(images_by_stem.values())}; masks: {_folders(masks_by_stem.values())}"
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


def _folders(sources: Iterable[Source]) -> str:
    """How many files lie in which folders, in words."""
    counts = Counter(f"{source.name.parent.name or '.'}/*{source.name.suffix}" for source in sources)
    return ", ".join(f"{num} in {folder}" for folder, num in counts.items()) or "none"
