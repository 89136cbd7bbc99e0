"""A model, or maps that it left, against ground truth: scores of a data set and of each picture in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from u2net.errors import BadPictures, InvalidDataset, InvalidImage, reason
from u2net.evaluation.dataset import (
    Dataset,
    Example,
    Source,
    by_stem,
    list_sources,
    load_grey,
    load_indices,
    open_dataset,
    open_pairs,
)
from u2net.evaluation.metrics import SALIENCY, ClassIoU, FMeasure, Measure, Pair, Sums
from u2net.inference.open import new_session
from u2net.inference.session import Session

Predict = Callable[[Example], NDArray[np.uint8]]
"""Makes or finds the map of an example, uint8 (H, W). What it cannot is InvalidImage, InvalidDataset or OSError."""

_IN_FLIGHT = 4  # pictures that wait to be measured


@dataclass(frozen=True)
class Labeller:
    """Makes the map of an example by a model with several classes: the index of each pixel's class."""

    session: Session

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, background first."""
        return self.session.card.classes

    def __call__(self, example: Example) -> NDArray[np.uint8]:
        """The labels, uint8 (H, W). Raises as `Session.labels` does, and InvalidDataset without a picture."""
        return self.session.labels(_picture(example))


@dataclass(frozen=True)
class Evaluation:
    """What came of one model, or folder of maps, on one data set."""

    dataset: str
    model: str
    num_pictures: int
    """Pictures that were measured."""
    scores: dict[str, float]
    """By name, over the whole set; the IoU of a class that occurs nowhere is absent."""
    curves: dict[str, NDArray[np.float64]]
    """"precision", "recall" and "F" of the data set, by threshold, the lowest first; empty without FMeasure."""
    pictures: list[dict[str, Any]] = field(repr=False)
    """One row a picture, in the order of names: "name" and its scores."""
    failures: list[tuple[str, str]]
    """Name and reason, in one line, of each picture that could not be measured."""


def evaluate(
    data: Dataset | str | PathLike[str] | None = None,
    model: Session | Predict | str | PathLike[str] | None = None,
    *,
    images: str | PathLike[str] | None = None,
    masks: str | PathLike[str] | None = None,
    maps: str | PathLike[str] | None = None,
    name: str | None = None,
    measures: Sequence[type[Measure]] | None = None,
    threshold: int = 128,
    ignore_index: int = 255,
    skip_bad: bool = False,
    progress: Callable[[Dataset], Iterable[Example]] = iter,
) -> Evaluation:
    """Score a model, or the maps that one left in a folder, on a data set.

    `data` is a folder or tar archive with pictures and masks (see `open_dataset`); or give `images` and `masks`.
    `model` is a session or what `new_session` takes, None being the packaged one; or `maps` names a folder or archive
    of maps, for which pictures are not needed. `name` replaces the model's own. `progress` wraps the data set as tqdm
    does.

    `measures` are those of SALIENCY by default. Grey ground truth counts as subject above `threshold`, 0 to 254, where
    a measure asks for binary truth. A model whose card has three classes or more is measured by `ClassIoU` on masks of
    indices instead (see `load_indices`), but for pixels of `ignore_index`; it takes no other measures.

    Pictures without counterpart, unreadable ones and those that differ in size from their mask are collected: in the
    end they raise BadPictures, each with its reason, unless `skip_bad` leaves them out. Other errors are
    InvalidDataset, and those of `new_session`. Memory grows by a row of scores for each picture and no more.
    """
    dataset = as_dataset(data, images, masks)
    predict, found_name = as_predict(model, maps)
    tally = measure(
        dataset,
        predict,
        name or found_name,
        measures=measures,
        threshold=threshold,
        ignore_index=ignore_index,
        progress=progress,
    )
    return tally.evaluation(skip_bad=skip_bad)


def measure(
    dataset: Dataset,
    predict: Predict,
    name: str,
    *,
    measures: Sequence[type[Measure]] | None = None,
    threshold: int = 128,
    ignore_index: int = 255,
    progress: Callable[[Dataset], Iterable[Example]] = iter,
) -> Tally:
    """Score every picture as `evaluate` does, and stop before the sums are divided.

    So several processes share the work: each measures a `Dataset.part`, one merges their tallies. Pictures that cannot
    be measured raise nothing here. `predict` is what `as_predict` gives.
    """
    tally: Tally
    if isinstance(predict, Labeller):
        if measures is not None:
            raise ValueError("a model with several classes is measured by ClassIoU alone")
        tally = _LabelTally(dataset.name, name, ClassIoU(predict.classes, ignore_index))
    else:
        kinds = SALIENCY if measures is None else measures
        tally = _SaliencyTally(dataset.name, name, [kind() for kind in kinds], threshold)
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool:  # measures one picture while the network has the next
        for example in progress(dataset):
            with tally.noting_failure(example):
                if example.mask is None:
                    raise InvalidDataset("has no mask")
                waiting.append(pool.submit(tally.step, example, example.mask, predict(example)))
            if len(waiting) > _IN_FLIGHT:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    return tally


def as_dataset(
    data: Dataset | str | PathLike[str] | None,
    images: str | PathLike[str] | None = None,
    masks: str | PathLike[str] | None = None,
) -> Dataset:
    """The data set that these arguments of `evaluate` name."""
    if (data is None) == (masks is None):
        raise ValueError("give either data, or masks (with images, or with maps)")
    if isinstance(data, Dataset):
        return data
    return open_pairs(images, masks) if masks is not None else open_dataset(data)  # type: ignore[arg-type]


def as_predict(
    model: Session | Predict | str | PathLike[str] | None, maps: str | PathLike[str] | None = None
) -> tuple[Predict, str]:
    """What makes or finds the map of an example, and its name."""
    if maps is not None:
        if model is not None:
            raise ValueError("give a model or maps, not both")
        return Maps(Path(maps)), Path(maps).stem
    if callable(model):
        return model, getattr(model, "__name__", "model")
    session = (
        model if isinstance(model, Session) else new_session(*([] if model is None else [model]), precision="fp32")
    )
    if len(session.card.classes) > 2:
        return Labeller(session), session.card.name
    return lambda example: session.mask(_picture(example)), session.card.name


class Maps:
    """The maps that a model left in a folder or tar, each by the name of its picture."""

    def __init__(self, path: Path) -> None:
        self._sources = by_stem(list_sources(path))

    def __call__(self, example: Example) -> NDArray[np.uint8]:
        """Grey levels (H, W). Raises InvalidDataset if there is none, InvalidImage for what is no picture."""
        if example.name not in self._sources:
            raise InvalidDataset("has no map")
        return load_grey(self._sources[example.name])

    def names_beyond(self, dataset: Dataset) -> list[str]:
        """Maps of pictures that the data set does not have, which nothing measures."""
        return sorted(self._sources.keys() - {example.name for example in dataset})


class Tally(ABC):
    """What was measured so far of one data set: sums, rows and failures. Can be pickled and merged."""

    def __init__(self, dataset: str, model: str, sums: Sequence[Sums]) -> None:
        self.dataset = dataset
        self.model = model
        self.sums = list(sums)
        self.rows: list[dict[str, Any]] = []
        self.failures: list[tuple[str, str]] = []

    @abstractmethod
    def scores(self, found: NDArray[np.uint8], mask: Source) -> dict[str, float]:
        """Take one map in; give its own scores. Raises for masks that cannot be read or do not fit."""

    def step(self, example: Example, mask: Source, found: NDArray[np.uint8]) -> None:
        """Take one map in, or note why it cannot be measured."""
        with self.noting_failure(example):
            self.rows.append({"name": example.name} | self.scores(found, mask))

    @contextmanager
    def noting_failure(self, example: Example) -> Iterator[None]:
        """Note what is wrong with one picture and go on."""
        try:
            yield
        except (InvalidImage, InvalidDataset, OSError) as error:
            self.failures.append((example.name, reason(error)))

    def merge(self, other: Tally) -> None:
        """Add what was measured of another part of the data set, in the same way."""
        for mine, added in zip(self.sums, other.sums, strict=True):
            mine.merge(added)
        self.rows += other.rows
        self.failures += other.failures

    def evaluation(self, *, skip_bad: bool = False) -> Evaluation:
        """The scores of all parts together. Raises BadPictures and InvalidDataset as `evaluate` does."""
        failures = sorted(self.failures)
        if failures and not skip_bad:
            raise BadPictures(failures)
        if not self.rows:
            raise InvalidDataset(f"{self.dataset}: nothing could be measured")
        scores = {key: float(value) for one in self.sums for key, value in one.results().items()}
        curves = next((one.curves() for one in self.sums if isinstance(one, FMeasure)), {})
        rows = sorted(self.rows, key=lambda row: str(row["name"]))
        return Evaluation(self.dataset, self.model, len(rows), scores, curves, rows, failures)


class _SaliencyTally(Tally):
    """Of maps of saliency, in grey levels."""

    def __init__(self, dataset: str, model: str, measures: Sequence[Measure], threshold: int) -> None:
        if not 0 <= threshold <= 254:
            raise ValueError(f"threshold is a grey level from 0 to 254, got {threshold}")
        super().__init__(dataset, model, measures)
        self.measures = measures
        self.threshold = threshold

    def scores(self, found: NDArray[np.uint8], mask: Source) -> dict[str, float]:
        """Those of every measure."""
        truth = load_grey(mask)
        _check_shapes(found, truth)
        pair = Pair(found, truth, self.threshold)
        return {key: value for one in self.measures for key, value in one.step(pair).items()}


class _LabelTally(Tally):
    """Of labels, indices of classes."""

    def __init__(self, dataset: str, model: str, overlap: ClassIoU) -> None:
        super().__init__(dataset, model, [overlap])
        self.overlap = overlap

    def scores(self, found: NDArray[np.uint8], mask: Source) -> dict[str, float]:
        """Those of the classes that occur."""
        truth = load_indices(mask)
        _check_shapes(found, truth)
        return self.overlap.step(found, truth)


def _check_shapes(found: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
    if truth.shape != found.shape:
        (height, width), (h, w) = found.shape, truth.shape
        raise InvalidDataset(f"has {width}×{height} pixels, its mask {w}×{h}")


def _picture(example: Example) -> bytes:
    if example.image is None:
        raise InvalidDataset("has no picture")
    return example.image.read()
