"""The weighted F-measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from u2net.metrics.distance import nearest
from u2net.metrics.measure import PictureMeasure
from u2net.metrics.morphology import grow_by_square
from u2net.metrics.pair import Pair

_RADIUS, _SIGMA = 3, 5  # of the Gaussian over which errors spread, pixels
_DECAY = np.log(0.5) / 5  # per pixel of distance from the mask
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
        mask, around = pair.mask, _surroundings(pair.mask, _RADIUS)
        low, high = pair.extremes
        error = np.subtract(pair.saliency, low, dtype=np.float32)
        error /= high - low
        error -= mask
        np.abs(error, out=error)
        # Only here do distances matter: where there is an error, or where one spreads into the mask from.
        relevant = pair.saliency > low
        relevant[around] |= grow_by_square(mask[around], _RADIUS)
        wanted = np.flatnonzero(relevant & ~mask)
        near = nearest(mask, wanted)
        weight = 2 - np.exp(_DECAY * near.distance)
        false = (error.ravel()[wanted] * weight).sum()  # not @, for which BLAS may start threads
        own = error[around].copy()
        error.ravel()[wanted] = error.ravel()[near.place]
        missed = (np.minimum(_blur(error[around]), own) * mask[around]).sum(dtype=np.float64)
        recall = 1 - missed / pair.num_subject
        precision = (pair.num_subject - missed) / (pair.num_subject - missed + false + _EPSILON)
        return {"Fw": float(2 * recall * precision / (recall + precision + _EPSILON))}


def _blur(error: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 7×7 Gaussian of the definition; beyond the border there is no error."""
    kernel = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float32) / _SIGMA) ** 2)
    kernel /= kernel.sum()
    for _ in range(2):
        padded = np.zeros((error.shape[0], error.shape[1] + 2 * _RADIUS), dtype=np.float32)
        padded[:, : -2 * _RADIUS] = error  # rows end to end, with zeros between
        error = np.convolve(padded.ravel(), kernel, mode="same").reshape(padded.shape)[:, : -2 * _RADIUS].T
    return error


def _surroundings(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """The part of the picture that holds a mask and so many pixels around it."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return tuple(slice(max(0, used[0] - margin), used[-1] + 1 + margin) for used in (rows, columns))  # type: ignore[return-value]
