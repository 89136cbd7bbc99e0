"""A model, or maps that it left, against ground truth: scores of a data set and of each picture in it."""

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

from u2net.background import new_session
from u2net.dataset import Dataset, Example, Source, by_stem, list_sources, open_dataset, open_pairs
from u2net.errors import BadPictures, InvalidDataset, InvalidImage, reason
from u2net.image import load_image
from u2net.metrics import SALIENCY, FMeasure, Measure, Pair
from u2net.session import Session

Predict = Callable[[Example], NDArray[np.uint8]]
"""Makes or finds the map of an example, uint8 (H, W). What it cannot is InvalidImage, InvalidDataset or OSError."""

_IN_FLIGHT = 4  # pictures that wait to be measured


@dataclass(frozen=True)
class Evaluation:
    """What came of one model, or folder of maps, on one data set."""

    dataset: str
    model: str
    num_pictures: int
    """Pictures that were measured."""
    scores: dict[str, float]
    """By name, over the whole set."""
    curves: dict[str, NDArray[np.float64]]
    """"precision", "recall" and "F" of the data set, by threshold, the lowest first; empty without FMeasure."""
    pictures: list[dict[str, Any]] = field(repr=False)
    """One row a picture: "name" and its scores."""
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
    measures: Sequence[type[Measure]] = SALIENCY,
    threshold: int = 128,
    skip_bad: bool = False,
    progress: Callable[[Dataset], Iterable[Example]] = iter,
) -> Evaluation:
    """Score a model, or the maps that one left in a folder, on a data set.

    `data` is a folder or tar archive with pictures and masks (see `open_dataset`); or give `images` and `masks`.
    `model` is a session or what `new_session` takes, None being the packaged one; or `maps` names a folder or archive
    of maps, for which pictures are not needed. `name` replaces the model's own. Grey ground truth counts as subject
    above `threshold`, 0 to 254, where a measure asks for binary truth. `progress` wraps the data set as tqdm does.

    Pictures without counterpart, unreadable ones and those that differ in size from their mask are collected: in the
    end they raise BadPictures, each with its reason, unless `skip_bad` leaves them out. Other errors are
    InvalidDataset, and those of `new_session`. Memory grows by a row of scores for each picture and no more.
    """
    if not 0 <= threshold <= 254:
        raise ValueError(f"threshold is a grey level from 0 to 254, got {threshold}")
    dataset = as_dataset(data, images, masks)
    predict, found_name = as_predict(model, maps)
    tally = _Tally([measure() for measure in measures], threshold)
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as pool:  # measures one picture while the network has the next
        for example in progress(dataset):
            with tally.noting_failure(example):
                if example.mask is None:
                    raise InvalidDataset("has no mask")
                waiting.append(pool.submit(tally.measure, example, example.mask, predict(example)))
            if len(waiting) > _IN_FLIGHT:
                waiting.popleft().result()
        for future in waiting:
            future.result()
    failures = sorted(tally.failures)
    if failures and not skip_bad:
        raise BadPictures(failures)
    if not tally.rows:
        raise InvalidDataset(f"{dataset.name}: nothing could be measured")
    curves = next((one.curves() for one in tally.measures if isinstance(one, FMeasure)), {})
    scores = {key: float(value) for one in tally.measures for key, value in one.results().items()}
    return Evaluation(dataset.name, name or found_name, len(tally.rows), scores, curves, tally.rows, failures)


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
        found = by_stem(list_sources(Path(maps)))
        return lambda example: _found(found, example), Path(maps).stem
    if callable(model):
        return model, getattr(model, "__name__", "model")
    session = model if isinstance(model, Session) else new_session(*([] if model is None else [model]))
    return lambda example: _predicted(session, example), session.card.name


def load_grey(source: Source) -> NDArray[np.uint8]:
    """A map or mask, uint8 (H, W), 0 to 255, from a picture of any mode.

    RGB counts by its luminance; a picture of one colour with transparency by its alpha; a mask of 0 and 1 alone as one
    of 0 and 255. Raises InvalidImage or OSError.
    """
    picture = load_image(source.read())
    if picture.alpha is not None and _is_flat(picture.rgb):
        grey = np.asarray(picture.alpha)
    else:
        grey = np.asarray(picture.rgb.convert("L"))
    return grey * np.uint8(255) if grey.max() == 1 else grey


def _is_flat(image: Image.Image) -> bool:
    return all(len(channel.getcolors(1) or ()) == 1 for channel in image.split())


class _Tally:
    """Measures, rows and failures of one run."""

    def __init__(self, measures: list[Measure], threshold: int) -> None:
        self.measures = measures
        self.threshold = threshold
        self.rows: list[dict[str, Any]] = []
        self.failures: list[tuple[str, str]] = []

    @contextmanager
    def noting_failure(self, example: Example) -> Iterator[None]:
        """Note what is wrong with one picture and go on."""
        try:
            yield
        except (InvalidImage, InvalidDataset, OSError) as error:
            self.failures.append((example.name, reason(error)))

    def measure(self, example: Example, mask: Source, saliency: NDArray[np.uint8]) -> None:
        """Take one map into every measure."""
        with self.noting_failure(example):
            truth = load_grey(mask)
            if truth.shape != saliency.shape:
                (height, width), (h, w) = saliency.shape, truth.shape
                raise InvalidDataset(f"has {width}×{height} pixels, its mask {w}×{h}")
            pair = Pair(saliency, truth, self.threshold)
            row: dict[str, Any] = {"name": example.name}
            for one in self.measures:
                row |= one.step(pair)
            self.rows.append(row)


def _found(maps: dict[str, Source], example: Example) -> NDArray[np.uint8]:
    if example.name not in maps:
        raise InvalidDataset("has no map")
    return load_grey(maps[example.name])


def _predicted(session: Session, example: Example) -> NDArray[np.uint8]:
    if example.image is None:
        raise InvalidDataset("has no picture")
    return session.mask(example.image.read())
