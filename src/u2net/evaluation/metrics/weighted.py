"""The weighted F-measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from u2net.evaluation.metrics.distance import FARTHEST, nearest, squared_distances
from u2net.evaluation.metrics.measure import PictureMeasure
from u2net.evaluation.metrics.pair import Pair
from u2net.evaluation.metrics.shift import combine, end_to_end

_RADIUS, _SIGMA = 3, 5  # of the Gaussian over which errors spread, pixels
_KERNEL = np.exp(-0.5 * (np.arange(_RADIUS + 1) / _SIGMA) ** 2)  # one half of it, from the middle
_KERNEL = (_KERNEL / (2 * _KERNEL.sum() - _KERNEL[0])).astype(np.float32)
_WEIGHTS = 2 - 0.5 ** (np.sqrt(np.arange(FARTHEST**2 + 1)) / 5)  # of false pixels by squared distance from the mask
_EPSILON = np.spacing(1.0)


class WeightedF(PictureMeasure):
    """Weighted F-measure Fw, 0 to 1: errors count less where they are scattered, and more far from the subject.

    Margolin, Zelnik-Manor and Tal, How to evaluate foreground maps?, CVPR 2014, with beta 1, on stretched maps. An
    empty mask scores 0. Where several pixels of the mask are equally near, the definition leaves open whose error
    counts; `nearest` says which is taken. Beyond 80 pixels distances are bounds, by which a weight of 2 is off by at
    most 0.000015.
    """

    def score(self, pair: Pair) -> dict[str, float]:
        """Fw."""
        if not pair.num_subject:
            return {"Fw": 0.0}
        low, high = pair.extremes
        false, missed = _false(pair) / (high - low), _missed(pair) / (high - low)
        recall = 1 - missed / pair.num_subject
        precision = (pair.num_subject - missed) / (pair.num_subject - missed + false + _EPSILON)
        return {"Fw": float(2 * recall * precision / (recall + precision + _EPSILON))}


def _false(pair: Pair) -> float:
    """The sum of errors outside the mask, in grey levels, each with its weight: up to twice if far from the mask."""
    errors = (pair.saliency - np.uint8(pair.extremes[0])) * ~pair.mask
    wanted = np.flatnonzero(errors > 0)  # only here do distances matter
    weights = _WEIGHTS.take(squared_distances(pair.mask, wanted))
    return float((errors.take(wanted) * weights).sum())  # not @, for which BLAS may start threads


def _missed(pair: Pair) -> float:
    """The sum of errors inside the mask, in grey levels, each no more than the mean around it.

    For that mean a pixel outside has the error of the nearest one inside.
    """
    around = _surroundings(pair, _RADIUS)
    mask = pair.mask[around]
    errors = (np.uint8(pair.extremes[1]) - pair.saliency[around]) * mask
    spread = errors.copy()
    near = nearest(mask)
    spread.ravel()[near.pixel] = errors.take(near.place)
    return float(np.minimum(_blur(spread), errors).sum())


def _blur(errors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The 7×7 Gaussian of the definition; beyond the border there is no error."""
    width = errors.shape[1]
    padded = end_to_end(errors, _RADIUS, np.float32)
    weighted = np.empty(padded.size, dtype=np.float32)
    for pitch in (padded.shape[1], 1):
        before = padded.ravel()
        blurred = before * _KERNEL[0]
        for step in range(1, _RADIUS + 1):
            np.multiply(before, _KERNEL[step], out=weighted)
            combine(np.add, blurred, weighted, step * pitch)
            combine(np.add, blurred, weighted, -step * pitch)
        padded = blurred.reshape(padded.shape)
    return padded[:, :width]


def _surroundings(pair: Pair, margin: int) -> tuple[slice, slice]:
    """The part of the picture that holds the mask and so many pixels around it."""
    rows, columns = np.flatnonzero(pair.num_in_rows), np.flatnonzero(pair.num_in_columns)
    return tuple(slice(max(0, used[0] - margin), used[-1] + 1 + margin) for used in (rows, columns))  # type: ignore[return-value]
