"""Which folders of a data set hold pictures and which hold masks, told by their names and by those of their files."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath, PurePosixPath
from typing import TYPE_CHECKING, Literal

from u2net.images.formats import SUFFIXES

if TYPE_CHECKING:
    from u2net.evaluation.dataset import Source

Role = Literal["picture", "foreground", "mask", "neither"]
"""What a folder holds. Foregrounds are pictures only where there are no others."""

# A name may say it anywhere in it ("ground_truth_mask"), or must be nothing else ("seg").
_MASKS = re.compile(r"(?i:mask|(?<!back)(?<!fore)ground|truth|label|annot|alpha|matte)|GT|(?<![A-Za-z])gt(?![a-z])")
_ONLY_MASKS = re.compile(r"(?i)segs?|segmentations?|segmentationclass\w*|mattings?")
_PICTURES = re.compile(r"(?i)(jpeg|rgb)?(images?|imgs?|im|pictures?|photos?)|rgb|originals?")
_FOREGROUNDS = re.compile(r"(?i)(fore_?ground|fg)s?([-_ ]?(images?|imgs?))?")
_TRIMAPS = re.compile(r"(?i)tri[-_ ]?map")
_NEITHER = re.compile(
    r"(?i)(back_?ground|bg)s?([-_ ]?(images?|imgs?))?|face[-_ ]?masks?"  # P3M-10k, AM-2k
    r"|(gt[-_ ]?)?(edges?|contours?|bounds?|boundary|boundaries)([-_ ]?gt)?|depths?|thermal"
    r"|segmentationobjects?|segmentationclassvisuali[sz]ation|visuali[sz]ations?|overlays?"  # PASCAL VOC, labelme
)
_NUM_COMPARED = 40  # folders, the fullest
_FITS_PICTURES = {"picture": 2, "foreground": 1, "mask": -4}


def role_of(folder: PurePath) -> Role:
    """What a folder holds, by its name below the data set's root.

    The topmost name that says something decides; in a folder of pictures all but masks and trimaps are pictures, so
    that images/background may be a class.
    """
    if any(_TRIMAPS.search(part) for part in folder.parts):
        return "neither"
    in_pictures = False
    for part in folder.parts:
        if not in_pictures and _NEITHER.fullmatch(part):
            return "neither"
        if not in_pictures and _FOREGROUNDS.fullmatch(part):
            return "foreground"
        if _MASKS.search(part) or _ONLY_MASKS.fullmatch(part):
            return "mask"
        in_pictures = in_pictures or _PICTURES.fullmatch(part) is not None
    return "picture"


def name_before(source: Source, suffix: str) -> str | None:
    """A file's name without folder, kind and `suffix`, "_mask" or "_mask.png"; None if it does not end so."""
    bare = PurePosixPath(f"name{suffix}")
    ending = suffix.removesuffix(bare.suffix) if bare.suffix.lower() in SUFFIXES else suffix
    stem = source.name.stem
    return (stem.removesuffix(ending) or None) if stem.endswith(ending) else None


def split_by_role(sources: Sequence[Source], mask_suffix: str = "") -> tuple[list[Source], list[Source]]:
    """The pictures and the masks among files; some may be neither.

    Masks have `mask_suffix` behind their names if any file has; otherwise they are in folders that say so, or in B
    beside A, or are the .png files beside .jpg files of the same name.
    """
    folders = _below_root(sources)
    roles = {above: role_of(folder) for above, folder in folders.items()}
    kept = [source for source in sources if roles[source.name.parent] != "neither"]
    masks = [source for source in kept if name_before(source, mask_suffix)] if mask_suffix else []
    masks = masks or [source for source in kept if roles[source.name.parent] == "mask"]
    known = set(masks)
    others = [source for source in kept if source not in known and roles[source.name.parent] != "mask"]
    if not masks and (second := [source for source in others if "B" in folders[source.name.parent].parts]):
        return [source for source in others if "A" in folders[source.name.parent].parts], second
    if not masks:
        twins = {source.name.with_suffix("") for source in kept if source.name.suffix.lower() in (".jpg", ".jpeg")}
        paired = [source for source in kept if source.name.with_suffix("") in twins]
        masks = [source for source in paired if source.name.suffix.lower() == ".png"]
        others = [source for source in paired if source.name.suffix.lower() != ".png"]
    return [source for source in others if roles[source.name.parent] == "picture"] or others, masks


def advise(sources: Iterable[Source]) -> str:
    """What would make a data set of these files: the two folders that share most names, as options of the command."""
    sources = list(sources)
    if any(source.inside for source in sources):
        return "unpack the archive, and give --images FOLDER --masks FOLDER"
    best = max(_pairings(sources), default=None)
    if best is None:
        return "give --images FOLDER --masks FOLDER, with a file of the same name in both for each picture"
    _, _, _, images, masks, suffix = best
    ending = f" --mask-suffix {shlex.quote(suffix)}" if suffix else ""
    return f"give --images {shlex.quote(images)} --masks {shlex.quote(masks)}{ending}"


def common_ending(names: Iterable[str], longer: Iterable[str]) -> str:
    """What most of the `longer` names have behind one of the `names`, such as "_mask"; empty if none has."""
    known = set(names)
    endings: Counter[str] = Counter()
    for name in longer:
        starts = (match.start() for match in re.finditer(r"[-_. ]", name))
        endings.update(name[start:] for start in starts if name[:start] in known)
    return max(endings, key=lambda ending: (endings[ending], -len(ending)), default="")


def _below_root(sources: Iterable[Source]) -> dict[PurePath, PurePath]:
    """Each folder that has files, without the folders that all files share: these tell nothing apart."""
    parents = {source.name.parent for source in sources}
    num_shared = len(os.path.commonprefix([p.parts for p in parents]))  # noqa: RUF071  (of whole parts)
    return {parent: PurePosixPath(*parent.parts[num_shared:]) for parent in parents}


def _pairings(sources: Sequence[Source]) -> Iterator[tuple[bool, int, int, str, str, str]]:
    """Pairs of folders, or one folder twice, whose files have names in common or with one ending.

    Each with what makes it likely: whether whole names agree, how well the folders' names fit, and how many agree.
    """
    below = _below_root(sources)
    names: dict[PurePath, list[str]] = defaultdict(list)
    paths: dict[PurePath, str] = {}
    num_png: Counter[PurePath] = Counter()
    for source in sources:
        folder = below[source.name.parent]
        for above, path in zip((folder, *folder.parents), source.path.parents, strict=False):
            if role_of(above) != "neither":
                names[above].append(source.name.stem)
                paths[above] = str(path)
                num_png[above] += source.name.suffix.lower() == ".png"
    fullest = sorted(names, key=lambda folder: -len(names[folder]))[:_NUM_COMPARED]
    known = {folder: set(names[folder]) for folder in fullest}
    for one, other in itertools.product(fullest, repeat=2):
        if one in other.parents or other in one.parents:
            continue
        is_unique = len(known[one]) == len(names[one]) and len(known[other]) == len(names[other])
        fits = _FITS_PICTURES.get(role_of(one), 0) + 2 * (role_of(other) == "mask")
        fits += num_png[other] * len(names[one]) > num_png[one] * len(names[other])
        if one != other and is_unique and (num := len(known[one] & known[other])):
            yield True, fits, num, paths[one], paths[other], ""
        elif is_unique and (ending := common_ending(known[one], known[other])):
            yield False, fits, sum(name.endswith(ending) for name in known[other]), paths[one], paths[other], ending
