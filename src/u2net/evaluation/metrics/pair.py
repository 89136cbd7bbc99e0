"""One map beside its ground truth, and what several measures want to know of the two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

HALF = 128
"""The lowest grey level of one half or more."""

Levels = NDArray[np.float64]
"""float64 (256,): one value for each grey level or threshold."""


@dataclass(frozen=True)
class Pair:
    """A map and its ground truth. Raises ValueError if they differ in shape or type, or are empty."""

    saliency: NDArray[np.uint8]
    """uint8 (H, W): how much each pixel belongs to the subject, 0 to 255."""
    truth: NDArray[np.uint8]
    """uint8 (H, W): the ground truth, binary or soft."""
    threshold: int = 128
    """Where soft truth is cut for measures of binary truth: a pixel is subject if it lies above."""

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

        Everything that does not ask where exactly a pixel lies follows from these 2,048 numbers.
        """
        height, width = self.mask.shape
        lower, right = (place + 1 for place in self.centroid)
        codes = self.mask * np.uint16(256)
        codes += self.saliency
        counted = (codes > 0).ravel()  # black outside the mask, most of a picture as a rule, is what is left of it
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
    def at_least_adaptive(self) -> tuple[int, int]:
        """Pixels outside and inside the mask of at least twice the stretched map's mean (1 at most)."""
        mean = (self.counts.sum(axis=0) @ self.stretched) / self.num_pixels
        outside, inside = self.counts[:, self.stretched >= min(2 * mean, 1)].sum(axis=1)
        return int(outside), int(inside)


def cumulate(counts: NDArray[np.int64], levels: NDArray[np.intp], num_thresholds: int) -> NDArray[np.int64]:
    """Pixels by mask, int64 (2, num_thresholds), that lie at or above each threshold, the highest first.

    `levels` tells the threshold that each grey level reaches.
    """
    moved = [np.bincount(levels, weights=row, minlength=num_thresholds) for row in counts]
    return np.array(moved, dtype=np.int64)[:, ::-1].cumsum(axis=1)
