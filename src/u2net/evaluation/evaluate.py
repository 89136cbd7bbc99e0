"""Scores of a model, or of maps that a model left, on a data set and on each picture in it."""

from __future__ import annotations

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
from PIL import Image

from u2net.errors import BadPictures, InvalidDataset, InvalidImage, reason
from u2net.evaluation.dataset import (
    Dataset,
    Example,
    by_stem,
    list_sources,
    load_grey,
    load_indices,
    open_dataset,
    open_pairs,
)
from u2net.evaluation.layout import name_before
from u2net.evaluation.metrics import SALIENCY, ClassIoU, FMeasure, Measure, Pair
from u2net.inference.open import new_session
from u2net.inference.session import Session
from u2net.models import DEFAULT

Predict = Callable[[Example], NDArray[np.uint8]]
"""Makes or finds the map of an example, uint8 (H, W). Raises InvalidImage, InvalidDataset or OSError if it cannot."""

_IN_FLIGHT = 4  # pictures that wait to be measured


@dataclass(frozen=True)
class ModelMaps:
    """The maps that a model makes: grey levels, or class indices if the model has three classes or more."""

    session: Session

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, background first; none for a model that makes grey levels."""
        classes = self.session.card.classes
        return classes if len(classes) > 2 else ()

    def __call__(self, example: Example) -> NDArray[np.uint8]:
        """Grey levels or indices, (H, W). Raises as `Session.mask` does, and InvalidDataset without a picture."""
        if example.image is None:
            raise InvalidDataset("has no picture")
        make = self.session.labels if self.classes else self.session.mask
        return make(example.image.read())


class SavedMaps:
    """The maps that a model left in a folder or tar archive, each by the name of its picture, and `suffix` behind it.

    Raises InvalidDataset if there is none.
    """

    def __init__(self, path: Path, suffix: str = "") -> None:
        sources = [source for source in list_sources(path) if name_before(source, suffix)]
        if not sources:
            raise InvalidDataset(f"no map of {path} has a name that ends in {suffix}")
        self._sources, _ = by_stem(sources, suffix=suffix)

    def __call__(self, example: Example) -> NDArray[np.uint8]:
        """Grey levels, (H, W). Raises InvalidDataset if there is no map, InvalidImage if it is no picture."""
        if example.name not in self._sources:
            raise InvalidDataset("has no map")
        return load_grey(self._sources[example.name])

    def unused(self, dataset: Dataset) -> list[str]:
        """Names of maps that belong to no picture of the data set, so that nothing measures them."""
        return sorted(self._sources.keys() - {example.name for example in dataset})


def classes_of(predict: Predict) -> tuple[str, ...]:
    """The classes whose indices are in the maps, background first; none for maps of grey levels."""
    return predict.classes if isinstance(predict, ModelMaps) else ()


@dataclass(frozen=True)
class Evaluation:
    """The scores of one model, or of one folder of maps, on one data set."""

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
    num_resized: int = 0
    """Maps that were resized to the size of their ground truth before they were measured."""


def evaluate(
    data: Dataset | str | PathLike[str] | None = None,
    model: Session | Predict | str | PathLike[str] | None = None,
    *,
    images: str | PathLike[str] | None = None,
    masks: str | PathLike[str] | None = None,
    maps: str | PathLike[str] | None = None,
    mask_suffix: str = "",
    map_suffix: str = "",
    resize_maps: bool = False,
    name: str | None = None,
    measures: Sequence[type[Measure]] | None = None,
    threshold: int = 128,
    ignore_index: int = 255,
    skip_bad: bool = False,
    progress: Callable[[Dataset], Iterable[Example]] = iter,
) -> Evaluation:
    """Score a model, or maps that a model left in a folder, on a data set.

    `data` is a folder or tar archive with pictures and masks (see `open_dataset`); or give `images` and `masks`.
    `model` is a session or anything that `new_session` accepts; None is the packaged model. To score maps that exist
    already, give their folder or archive as `maps`; then pictures are not needed. `name` replaces the model's own name.
    `progress` wraps the data set, as tqdm does.

    `mask_suffix` and `map_suffix` are what names of masks and of maps have behind the picture's, as in NAME_mask.png
    and NAME_sal_fuse.png; maps without it are left out. With `resize_maps` a map of another size than its ground truth
    is resized (grey levels bilinearly, classes to the nearest pixel), and counted as `num_resized`.

    `measures` are those of SALIENCY by default. Measures of binary truth count grey truth above `threshold`, 0 to 254,
    as subject. A model with three classes or more is measured by `ClassIoU` on masks of indices (see `load_indices`),
    without pixels of `ignore_index`, and takes no other measures.

    Pictures without mask, unreadable pictures and maps of another size than their mask raise BadPictures at the end,
    each with its reason; with `skip_bad` they are left out. Also raises InvalidDataset, and what `new_session`
    raises. Memory grows by one row of scores a picture.
    """
    dataset = as_dataset(data, images, masks, mask_suffix)
    predict, found_name = as_predict(model, maps, map_suffix)
    tally = measure(
        dataset,
        predict,
        name or found_name,
        measures=measures,
        threshold=threshold,
        ignore_index=ignore_index,
        resize_maps=resize_maps,
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
    resize_maps: bool = False,
    progress: Callable[[Dataset], Iterable[Example]] = iter,
) -> Tally:
    """Score every picture as `evaluate` does, and return the sums before they are divided.

    Use it to share the work among processes: each measures a `Dataset.part`, and one merges the tallies. Pictures that
    cannot be measured raise nothing here. `predict` comes from `as_predict`.
    """
    if not 0 <= threshold <= 254:
        raise ValueError(f"threshold is a grey level from 0 to 254, got {threshold}")
    classes = classes_of(predict)
    if classes and measures is not None:
        raise ValueError("a model with several classes is measured by ClassIoU alone")
    kinds = SALIENCY if measures is None else measures
    tally = Tally(dataset.name, name, [ClassIoU(classes, ignore_index)] if classes else [kind() for kind in kinds])

    def step(example: Example, found: NDArray[np.uint8]) -> None:
        assert example.mask is not None
        with tally.noting_failure(example):
            truth = (load_indices if classes else load_grey)(example.mask)
            if resize_maps and truth.shape != found.shape:
                kernel = Image.Resampling.NEAREST if classes else Image.Resampling.BILINEAR
                found = np.asarray(Image.fromarray(found).resize(truth.shape[::-1], kernel))
                tally.num_resized += 1
            if truth.shape != found.shape:
                (height, width), (h, w) = found.shape, truth.shape
                raise InvalidDataset(f"has {width}×{height} pixels, its mask {w}×{h}")
            pair = Pair(found, truth, threshold)
            scores = {key: value for one in tally.measures for key, value in one.step(pair).items()}
            tally.rows.append({"name": example.name} | scores)

    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool:  # measures one picture while the network has the next
        for example in progress(dataset):
            with tally.noting_failure(example):
                if example.mask is None:
                    raise InvalidDataset("has no mask")
                waiting.append(pool.submit(step, example, predict(example)))
            if len(waiting) > _IN_FLIGHT:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    return tally


def as_dataset(
    data: Dataset | str | PathLike[str] | None,
    images: str | PathLike[str] | None = None,
    masks: str | PathLike[str] | None = None,
    mask_suffix: str = "",
) -> Dataset:
    """The data set that these arguments of `evaluate` name."""
    if (data is None) == (masks is None):
        raise ValueError("give either data, or masks (with images, or with maps)")
    if isinstance(data, Dataset):
        return data
    if masks is not None:
        return open_pairs(images, masks, mask_suffix=mask_suffix)
    return open_dataset(data, mask_suffix=mask_suffix)  # type: ignore[arg-type]


def as_predict(
    model: Session | Predict | str | PathLike[str] | None,
    maps: str | PathLike[str] | None = None,
    map_suffix: str = "",
) -> tuple[Predict, str]:
    """What makes or finds the map of an example, and the name of the model."""
    if maps is not None:
        if model is not None:
            raise ValueError("give a model or maps, not both")
        return SavedMaps(Path(maps), map_suffix), Path(maps).stem
    if callable(model):
        return model, getattr(model, "__name__", "model")
    if not isinstance(model, Session):
        model = new_session(DEFAULT if model is None else model, precision="fp32")
    return ModelMaps(model), model.card.name


@dataclass
class Tally:
    """What was measured so far of one data set: sums, rows and failures. Can be pickled and merged."""

    dataset: str
    model: str
    measures: Sequence[Measure]
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    num_resized: int = 0

    @contextmanager
    def noting_failure(self, example: Example) -> Iterator[None]:
        """Note what is wrong with one picture and go on."""
        try:
            yield
        except (InvalidImage, InvalidDataset, OSError) as error:
            self.failures.append((example.name, reason(error)))

    def merge(self, other: Tally) -> None:
        """Add what was measured of another part of the data set, in the same way."""
        for mine, added in zip(self.measures, other.measures, strict=True):
            mine.merge(added)
        self.rows += other.rows
        self.failures += other.failures
        self.num_resized += other.num_resized

    def evaluation(self, *, skip_bad: bool = False) -> Evaluation:
        """The scores of all parts together. Raises BadPictures and InvalidDataset as `evaluate` does."""
        failures = sorted(self.failures)
        if failures and not skip_bad:
            raise BadPictures(failures)
        if not self.rows:
            raise InvalidDataset(f"{self.dataset}: nothing could be measured")
        scores = {key: float(value) for one in self.measures for key, value in one.results().items()}
        curves = next((one.curves() for one in self.measures if isinstance(one, FMeasure)), {})
        rows = sorted(self.rows, key=lambda row: str(row["name"]))
        return Evaluation(self.dataset, self.model, len(rows), scores, curves, rows, failures, self.num_resized)
