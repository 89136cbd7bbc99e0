"""Checks of whole data sets: every example by itself, their names, and pictures that occur twice."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from u2net.errors import InvalidImage
from u2net.evaluation.check.example import Checked, check_example, load_labels
from u2net.evaluation.check.findings import KINDS, Examined, Finding, Report, Role
from u2net.evaluation.check.lookalikes import find_lookalikes
from u2net.evaluation.dataset import Dataset, Example, Source, named_uniquely

_ADDED = re.compile(
    r"(?i)[-_. ](masks?|gt|ground_?truth|labels?|matte|alpha|seg|segmentation|image|img|picture|photo|rgb)$"
    r"|\.(jpe?g|png|webp|bmp|tiff?)$"
)
"""What programs add to a name to tell picture from mask."""
_MIN_AGREEMENT = 0.8
"""Overlap by union of two masks of one picture: of the 21 such in DUTS-TR, 20 have 0.92 or more, and one 0.18."""
_MIN_MASKS = 5
"""Fewer masks say nothing about a whole data set."""


@dataclass(frozen=True)
class _Part:
    """One data set, and what the check of each of its examples found."""

    dataset: Dataset
    role: Role
    checked: list[Checked]

    def finding(self, kind: str, example: Example, detail: str, other: Example | None = None) -> Finding:
        return Finding(kind, self.dataset.name, example.name, detail, example, other)


def examine(
    dataset: Dataset | Sequence[Dataset],
    validation: Sequence[Dataset] = (),
    *,
    classes: int | Sequence[str] = 2,
    ignore_index: int = 255,
    progress: Callable[[Dataset], Iterable[Example]] = iter,
    threads: int | None = None,
) -> Report:
    """Check every pair of training and validation data, and report what is wrong or odd.

    Open data sets with `strict=False`, so that files of one name become findings. `classes` is the number of classes,
    or their names, background first: with two, masks hold levels from black to white; with more, indices. `progress`
    wraps each data set, as tqdm does. `threads` is by default the number of processors.

    No content of a file raises an error. Memory grows by a thumbnail of 1 KiB a picture.
    """
    names = [str(index) for index in range(classes)] if isinstance(classes, int) else list(classes)
    if not 2 <= len(names) <= 256:
        raise ValueError(f"classes are 2 to 256, got {len(names)}")
    check = partial(check_example, num_classes=len(names), ignore_index=ignore_index)
    training = [dataset] if isinstance(dataset, Dataset) else list(dataset)
    named = named_uniquely([*training, *validation])
    parts = []
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        try:
            for index, one in enumerate(named):
                found = zip(progress(one), pool.map(check, one), strict=True)
                role: Role = "training" if index < len(training) else "validation"
                parts.append(_Part(one, role, [checked for _, checked in found]))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or the end of the block would wait for all of them
            raise
    findings = [finding for part in parts for finding in _of_examples(part)]
    findings += _of_lookalikes(parts, len(names))
    shares: dict[str, float] = {}
    if len(names) == 2:
        findings += [finding for part in parts for finding in _of_majority(part)]
    else:
        shares = _class_shares(parts, names, ignore_index)
        trained = ", ".join(part.dataset.name for part in parts if part.role == "training")
        findings += [
            Finding("absent", trained, "", f"class {index}" + (f", {name}" if name != str(index) else ""))
            for index, name in enumerate(names)
            if shares.get(name) == 0
        ]
    order = list(KINDS)
    findings.sort(key=lambda finding: order.index(finding.kind))
    return Report([_count(part) for part in parts], findings, names, shares)


def _of_examples(part: _Part) -> Iterator[Finding]:
    for example, kind, detail in check_names(part.dataset):
        yield part.finding(kind, example, detail)
    for example, checked in zip(part.dataset, part.checked, strict=True):
        for kind, detail in checked.faults:
            yield part.finding(kind, example, detail)


def _of_majority(part: _Part) -> Iterator[Finding]:
    """Whether white means background in the whole data set.

    It does if, on average over five masks or more that have two levels, more than half of the border is white, and less
    than half of the middle ninth. In DUTS-TR 2 % of the border and 74 % of the middle are white, in ECSSD 3 % and 66 %.
    """
    seen = [(one.border, one.centre) for one in part.checked if one.border is not None]
    if len(seen) >= _MIN_MASKS:
        border, centre = np.array(seen, np.float64).mean(axis=0)
        if border > 0.5 > centre:
            detail = f"on average {border:.0%} of the border is white, {centre:.0%} of the middle"
            yield Finding("mostly-inverted", part.dataset.name, "", detail)


def _of_lookalikes(parts: list[_Part], num_classes: int) -> Iterator[Finding]:
    """Pictures that occur twice in training, or in training and validation, and those of them whose masks differ."""
    seen = [(part, e, one.thumbnail) for part in parts for e, one in zip(part.dataset, part.checked, strict=True)]
    trained = [(part, e, t) for part, e, t in seen if part.role == "training" and t is not None]
    held = [(part, e, t) for part, e, t in seen if part.role == "validation" and t is not None]
    thumbnails = [thumbnail for _, _, thumbnail in trained]
    for kind, pictures, among in (("duplicate", trained, None), ("leak", held, thumbnails)):
        for alike in find_lookalikes([thumbnail for _, _, thumbnail in pictures], among):
            (part, example, _), (other_part, other, _) = pictures[alike.index], trained[alike.other]
            name = other.name if other_part is part else f"{other_part.dataset.name}/{other.name}"
            detail = f"{'mirrors' if alike.mirrored else 'is like'} {name}"
            yield part.finding(kind, example, detail, other)
            agreement = _agreement(example, other, num_classes, mirrored=alike.mirrored)
            if agreement is not None and agreement < _MIN_AGREEMENT:
                yield part.finding("unequal-masks", example, f"{detail}, masks overlap by {agreement:.0%}", other)


def _agreement(one: Example, other: Example, num_classes: int, *, mirrored: bool) -> float | None:
    """Of pixels with a class other than 0 in either mask, the share with equal classes; None if one is unreadable."""
    assert one.mask is not None
    assert other.mask is not None
    try:
        a, b = load_labels(one.mask, num_classes), load_labels(other.mask, num_classes)
    except (InvalidImage, OSError):
        return None
    resized = np.asarray(Image.fromarray(b).resize(a.shape[::-1], Image.Resampling.NEAREST))
    b = resized[:, ::-1] if mirrored else resized
    union = np.count_nonzero(a | b)
    return np.count_nonzero((a == b) & (a > 0)) / union if union else 1.0


def _class_shares(parts: list[_Part], names: list[str], ignore_index: int) -> dict[str, float]:
    counts = np.zeros(256, np.int64)
    for part in parts:
        for checked in part.checked:
            if part.role == "training" and checked.counts is not None:
                counts += checked.counts
    indices = [index for index in range(len(names)) if index != ignore_index]
    total = max(int(counts[indices].sum()), 1)
    return {names[index]: float(counts[index] / total) for index in indices}


def _count(part: _Part) -> Examined:
    """Count the pairs of a data set, and those without errors."""
    ambiguous = {first.name.stem for first, _ in part.dataset.duplicates}
    pairs = [(e, one) for e, one in zip(part.dataset, part.checked, strict=True) if e.image and e.mask]
    faulty = {e.name for e, one in pairs if any(KINDS[kind].severity == "error" for kind, _ in one.faults)}
    return Examined(part.dataset, part.role, len(pairs), sum(e.name not in faulty | ambiguous for e, _ in pairs))


def check_names(dataset: Dataset) -> Iterator[tuple[Example, str, str]]:
    """Example, kind and detail for each name that has no counterpart, or more than one file."""
    pictures = {_bare(e.name): e.image for e in dataset if e.image and not e.mask}
    masks = {_bare(e.name): e.mask for e in dataset if e.mask and not e.image}
    examples = {example.name: example for example in dataset}
    for example in dataset:
        if example.image and not example.mask:
            yield example, "no-mask", _lonely(example.image, masks.get(_bare(example.name)))
        elif example.mask and not example.image:
            yield example, "no-picture", _lonely(example.mask, pictures.get(_bare(example.name)))
    for first, further in dataset.duplicates:
        yield examples[first.name.stem], "same-name", f"{shown(first)} and {shown(further)}"


def shown(source: Source) -> str:
    """A file's name with its folder."""
    return f"{source.name.parent.name or '.'}/{source.name.name}"


def _lonely(source: Source, counterpart: Source | None) -> str:
    hint = f" seems to belong to {shown(counterpart)}: give both one name" if counterpart else ""
    return shown(source) + hint


def _bare(name: str) -> str:
    """A name without such an addition, in lower case."""
    return _ADDED.sub("", name).casefold()
