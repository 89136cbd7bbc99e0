"""Every pair of the training data looked at, and all of them held beside each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

from u2net.errors import InvalidImage
from u2net.evaluation.check.findings import KINDS, Examined, Finding, Report
from u2net.evaluation.check.lookalikes import find_lookalikes
from u2net.evaluation.check.names import look_at_names
from u2net.evaluation.check.pair import Look, load_labels, look_at
from u2net.evaluation.dataset import Dataset, Example

_MIN_AGREEMENT = 0.8
"""Overlap by union of two masks of one picture: of the 21 such in DUTS-TR, 20 have 0.92 or more, and one 0.18."""
_MIN_MASKS = 5
"""Masks that tell what a whole data set is like."""


@dataclass(frozen=True)
class _Part:
    """One data set and what was seen of it, in its order."""

    dataset: Dataset
    role: Literal["training", "validation"]
    looks: list[Look]

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
    """Look at every pair of training and validation data, and find what is wrong or odd about them.

    Data sets are best opened with `strict=False`, so that files of one name become findings. `classes` is the number
    of classes, or their names, background first: masks of two hold levels from black to white, masks of more hold
    indices. `progress` wraps each data set as tqdm does. `threads` of None are as many as processors.

    Nothing that stands in a file raises. Memory grows by a thumbnail of 1 KiB a picture.
    """
    names = [str(index) for index in range(classes)] if isinstance(classes, int) else list(classes)
    if not 2 <= len(names) <= 256:
        raise ValueError(f"classes are 2 to 256, got {len(names)}")
    look = partial(look_at, num_classes=len(names), ignore_index=ignore_index)
    training = [dataset] if isinstance(dataset, Dataset) else list(dataset)
    named = _named_uniquely([*training, *validation])
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        try:
            parts = [_look_through(d, "training", look, pool, progress) for d in named[: len(training)]]
            parts += [_look_through(d, "validation", look, pool, progress) for d in named[len(training) :]]
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


def _named_uniquely(datasets: list[Dataset]) -> list[Dataset]:
    """The data sets; of two of one name, the second is "name-2"."""
    named: dict[str, Dataset] = {}
    for dataset in datasets:
        name, count = dataset.name, 1
        while name in named:
            count += 1
            name = f"{dataset.name}-{count}"
        named[name] = replace(dataset, name=name)
    return list(named.values())


def _look_through(
    dataset: Dataset,
    role: Literal["training", "validation"],
    look: Callable[[Example], Look],
    pool: ThreadPoolExecutor,
    progress: Callable[[Dataset], Iterable[Example]],
) -> _Part:
    looks = pool.map(look, dataset)
    return _Part(dataset, role, [seen for _, seen in zip(progress(dataset), looks, strict=True)])


def _of_examples(part: _Part) -> Iterator[Finding]:
    for example, kind, detail in look_at_names(part.dataset):
        yield part.finding(kind, example, detail)
    for example, look in zip(part.dataset, part.looks, strict=True):
        for kind, detail in look.faults:
            yield part.finding(kind, example, detail)


def _of_majority(part: _Part) -> Iterator[Finding]:
    """Whether white means background throughout.

    The rule: of five masks or more that are not of one level, most of the border is white on average, and less than
    half of the middle ninth. Of DUTS-TR 2 % of the border is white and 74 % of the middle, of ECSSD 3 % and 66 %.
    """
    seen = [(look.border, look.centre) for look in part.looks if look.border is not None]
    if len(seen) >= _MIN_MASKS:
        border, centre = np.array(seen, np.float64).mean(axis=0)
        if border > 0.5 > centre:
            detail = f"on average {border:.0%} of the border is white, {centre:.0%} of the middle"
            yield Finding("mostly-inverted", part.dataset.name, "", detail)


def _of_lookalikes(parts: list[_Part], num_classes: int) -> Iterator[Finding]:
    """Pictures that stand twice in training, or in training and validation, and those of them whose masks differ."""
    seen = [(part, e, look.thumbnail) for part in parts for e, look in zip(part.dataset, part.looks, strict=True)]
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
    """Part of the pixels with a class other than 0 in either mask that has it in both; None if one is unreadable."""
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
        for look in part.looks:
            if part.role == "training" and look.counts is not None:
                counts += look.counts
    indices = [index for index in range(len(names)) if index != ignore_index]
    total = max(int(counts[indices].sum()), 1)
    return {names[index]: float(counts[index] / total) for index in indices}


def _count(part: _Part) -> Examined:
    """How many pairs a data set has, and how many of them are without errors."""
    ambiguous = {first.name.stem for first, _ in part.dataset.duplicates}
    pairs = [(e, look) for e, look in zip(part.dataset, part.looks, strict=True) if e.image and e.mask]
    faulty = {e.name for e, look in pairs if any(KINDS[kind].severity == "error" for kind, _ in look.faults)}
    return Examined(part.dataset, part.role, len(pairs), sum(e.name not in faulty | ambiguous for e, _ in pairs))
