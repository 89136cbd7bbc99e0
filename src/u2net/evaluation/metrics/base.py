"""What every measure takes in, a map beside its ground truth, and what all measures share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

EPSILON = np.spacing(1.0)
"""Added where the original MATLAB code of a measure adds eps."""

Levels = NDArray[np.float64]
"""float64 (256,): one value for each grey level or threshold."""


@dataclass(frozen=True)
class Pair:
    """A map and its ground truth, with the counts that several measures share.

    Raises ValueError if they differ in shape or type, or are empty.
    """

    saliency: NDArray[np.uint8]
    """uint8 (H, W): how much each pixel belongs to the subject, 0 to 255; for `ClassIoU` its class."""
    truth: NDArray[np.uint8]
    """uint8 (H, W): the ground truth, binary or soft; for `ClassIoU` classes."""
    threshold: int = 128
    """Measures of binary truth count a pixel as subject if its truth is above this."""

    def __post_init__(self) -> None:
        if self.saliency.shape != self.truth.shape:
            (h, w), (truth_h, truth_w) = self.saliency.shape[:2], self.truth.shape[:2]
            raise ValueError(f"the map has {w}×{h} pixels, the ground truth {truth_w}×{truth_h}")
        if self.saliency.ndim != 2 or self.saliency.size == 0:
            raise ValueError(f"a map has two dimensions and at least one pixel, not the shape {self.saliency.shape}")
        if self.saliency.dtype != np.uint8 or self.truth.dtype != np.uint8:
            raise ValueError(f"maps are uint8, not {self.saliency.dtype} and {self.truth.dtype}")

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Boolean (H, W): the truth above the threshold."""
        return self.truth > self.threshold

    @cached_property
    def num_in_rows(self) -> NDArray[np.unsignedinteger]:
        """(H,): pixels of the mask in each row."""
        return self._num_along(1)

    @cached_property
    def num_in_columns(self) -> NDArray[np.unsignedinteger]:
        """(W,): pixels of the mask in each column."""
        return self._num_along(0)

    def _num_along(self, axis: int) -> NDArray[np.unsignedinteger]:
        dtype = np.min_scalar_type(max(self.mask.shape))  # the smaller the faster
        return np.asarray(self.mask.view(np.uint8).sum(axis=axis, dtype=dtype))

    @cached_property
    def centroid(self) -> tuple[int, int]:
        """(row, column) of the mask's centre of mass, rounded; the picture's centre if the mask is empty."""
        height, width = self.mask.shape
        total = self.num_in_rows.sum()
        if total == 0:
            return round(height / 2), round(width / 2)
        row = (self.num_in_rows @ np.arange(height)) / total
        column = (self.num_in_columns @ np.arange(width)) / total
        return round(row), round(column)

    @cached_property
    def quadrant_counts(self) -> NDArray[np.int64]:
        """int64 (2, 2, 2, 256): pixels by row half, column half, mask and grey level, cut behind the centroid.

        All measures that do not depend on a pixel's exact place follow from these 2,048 numbers.
        """
        height, width = self.mask.shape
        lower, right = (place + 1 for place in self.centroid)
        codes = self.mask * np.uint16(256)
        codes += self.saliency
        counted = (codes > 0).ravel()  # black outside the mask, mostly the largest part, is what remains
        codes[:, right:] += np.uint16(512)
        codes[lower:] += np.uint16(1024)
        counts = np.bincount(codes.ravel()[counted], minlength=2048).reshape(2, 2, 2, 256)
        sizes = np.outer((lower, height - lower), (right, width - right))
        counts[:, :, 0, 0] = sizes - counts.sum(axis=(2, 3))
        return counts

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """int64 (2, 256): pixels by mask and grey level."""
        return np.asarray(self.quadrant_counts.sum(axis=(0, 1)))

    @property
    def num_pixels(self) -> int:
        """Height × width."""
        return self.saliency.size

    @cached_property
    def num_subject(self) -> int:
        """Pixels of the mask."""
        return int(self.counts[1].sum())

    @cached_property
    def extremes(self) -> tuple[int, int]:
        """Levels that become 0 and 1 when the map is stretched: its lowest and highest, or 0 and 255 of a flat map."""
        used = np.flatnonzero(self.counts.any(axis=0))
        low, high = int(used[0]), int(used[-1])
        return (low, high) if high > low else (0, 255)

    @cached_property
    def stretched(self) -> Levels:
        """The value of each level when the map is stretched to fill [0, 1]; a flat map stays as it is."""
        values = np.arange(256) / 255
        low, high = values[list(self.extremes)]
        return np.asarray((values - low) / (high - low))

    @cached_property
    def at_least(self) -> NDArray[np.int64]:
        """int64 (2, 256): pixels, by mask, whose stretched level is at least 255, 254, …, 0."""
        return cumulate(self.counts, (self.stretched.clip(0, 1) * 255).astype(np.intp), 256)

    @cached_property
    def at_least_adaptive(self) -> NDArray[np.int64]:
        """int64 (2,): pixels, by mask, of at least twice the stretched map's mean (1 at most)."""
        mean = (self.counts.sum(axis=0) @ self.stretched) / self.num_pixels
        return np.asarray(self.counts[:, self.stretched >= min(2 * mean, 1)].sum(axis=1))


def cumulate(counts: NDArray[np.int64], levels: NDArray[np.intp], num_thresholds: int) -> NDArray[np.int64]:
    """Pixels by mask, int64 (2, num_thresholds), at or above each threshold, the highest first.

    `levels` holds the threshold that each grey level reaches.
    """
    moved = [np.bincount(levels, weights=row, minlength=num_thresholds) for row in counts]
    return np.array(moved, dtype=np.int64)[:, ::-1].cumsum(axis=1)


class Measure(ABC):
    """Scores pairs one by one. Keeps only sums over them, so that parts of a data set can be measured apart."""

    in_tables: ClassVar[tuple[str, ...]] = ()
    """Those of its scores that tables show; files hold all."""
    lower_is_better: ClassVar[bool] = False

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.num_pairs = 0

    @abstractmethod
    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return the scores of this pair alone, by name."""

    @abstractmethod
    def results(self) -> dict[str, float]:
        """Scores of all pairs so far, by name; there must be at least one."""

    def merge(self, other: Self) -> None:
        """Add the sums of another part. Raises TypeError for one of another kind."""
        if type(self) is not type(other):
            raise TypeError(f"{type(other).__name__} cannot be merged into {type(self).__name__}")
        self._add(other.sums, other.num_pairs)

    def _add(self, values: Mapping[str, Any], num_pairs: int = 1) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self.num_pairs += num_pairs

    def _mean(self, name: str) -> Any:
        return self.sums[name] / self.num_pairs


class PictureMeasure(Measure):
    """A measure whose score of a set is the mean of the scores of its pairs."""

    @abstractmethod
    def score(self, pair: Pair) -> dict[str, float]:
        """The scores of one pair, by name."""

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return its scores."""
        scores = self.score(pair)
        self._add(scores)
        return scores

    def results(self) -> dict[str, float]:
        """Mean scores."""
        return {name: self._mean(name) for name in self.sums}
