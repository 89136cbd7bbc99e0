"""What calibration pictures show of each map of a network, and the scales of integers that follow from it.

A scale that reaches the largest value of a map spends most of its levels on a few pixels. So larger values are cut, at
the limit where the mean squared error of all values is least (Choukroun et al. 2019, arXiv 1902.06822).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from u2net.net.static import run_tensors

LEVELS = 255
"""Of a map in integers, above 0."""

_NUM_BINS = 4096
_EVERY = 7  # value is counted: the others are like them
_LIMITS = np.linspace(0.2, 1, 81)  # that are tried, as shares of the largest value

Map = NDArray[np.float32]


@dataclass
class Values:
    """Which values a map has, over all pictures."""

    low: Map
    """The least of each channel, (C,)."""
    high: Map
    """The largest of each channel, (C,)."""
    counts: NDArray[np.int64]
    """How many lie in each of (B,) bins of the same width, from 0 to `top`."""

    @property
    def top(self) -> float:
        """The largest value of all."""
        return max(float(self.high.max()), 1e-6)


def observe(model: onnx.ModelProto, names: Sequence[str], pictures: Sequence[Map]) -> dict[str, Values]:
    """The values of the named maps of a graph and of its `input`; pictures are float32 (1, C, H, W)."""
    inner = [name for name in names if name != "input"]

    def maps() -> Iterator[tuple[str, Map]]:
        for picture, found in zip(pictures, run_tensors(model, pictures, inner), strict=True):
            yield from zip(("input", *inner), (picture, *found), strict=True)

    values: dict[str, Values] = {}
    for name, map_ in maps():
        low, high = map_.min(axis=(0, 2, 3)), map_.max(axis=(0, 2, 3))
        if name in values:
            low, high = np.minimum(low, values[name].low), np.maximum(high, values[name].high)
        values[name] = Values(low, high, np.zeros(_NUM_BINS, np.int64))
    for name, map_ in maps():
        bins = map_.ravel()[::_EVERY] * (_NUM_BINS / values[name].top)
        values[name].counts += np.bincount(bins.clip(0, _NUM_BINS - 1).astype(np.int64), minlength=_NUM_BINS)
    return values


def best_scale(maps: Sequence[Values]) -> tuple[float, np.uint8]:
    """Scale and zero that maps share, whose integers are value / scale + zero, cut to 0…255.

    0 is a whole number, so that borders are 0 too. Maps that have values below 0 are not cut.
    """
    low, high = min(0.0, *(float(values.low.min()) for values in maps)), max(values.top for values in maps)
    if low < 0:
        scale = (high - low) / LEVELS
        return scale, np.uint8(round(-low / scale))
    middles = np.concatenate([(np.arange(_NUM_BINS) + 0.5) * (values.top / _NUM_BINS) for values in maps])
    counts = np.concatenate([values.counts for values in maps])

    def error(scale: float) -> float:
        return float(counts @ (np.round(middles / scale).clip(max=LEVELS) * scale - middles) ** 2)

    return min((high * limit / LEVELS for limit in _LIMITS), key=error), np.uint8(0)
