"""F-measures: of a data set (maxF, meanF, adpF), averaged over pictures, and weighted (Fw).

docs/evaluate.md says how conventions differ between tools, and what empty masks, full masks and flat maps score.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from u2net.evaluation.metrics.base import EPSILON, Levels, Measure, Pair, PictureMeasure, cumulate
from u2net.evaluation.metrics.weighted_f import FARTHEST, combine, end_to_end, nearest, squared_distances

BETA2 = 0.3
"""Weight of precision in F-measures of saliency (Achanta et al. 2009)."""

_RADIUS, _SIGMA = 3, 5  # of the Gaussian over which errors spread, pixels
_KERNEL = np.exp(-0.5 * (np.arange(_RADIUS + 1) / _SIGMA) ** 2)  # one half of it, from the middle
_KERNEL = (_KERNEL / (2 * _KERNEL.sum() - _KERNEL[0])).astype(np.float32)
_WEIGHTS = 2 - 0.5 ** (np.sqrt(np.arange(FARTHEST**2 + 1)) / 5)  # of false pixels by squared distance from the mask


def precision_recall(
    counted: Iterable[NDArray[np.int64] | int], num_subject: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall from pixels outside and inside the mask; 0 where nothing was found or is to be found."""
    outside, inside = (np.atleast_1d(np.asarray(n, dtype=np.float64)) for n in counted)
    return inside / np.maximum(outside + inside, 1), inside / max(num_subject, 1)


def f_score(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """F with beta² of 0.3; 0 where both are 0."""
    weighted = BETA2 * precision + recall
    return np.asarray((1 + BETA2) * precision * recall / np.where(weighted == 0, 1, weighted))


class FMeasure(Measure):
    """F-measure of a data set as in the paper: the F of mean precision and mean recall over all pictures.

    Maps are divided by their maximum. There are 255 thresholds: the two highest levels share one, as in the authors'
    tool. Achanta et al., Frequency-tuned salient region detection, CVPR 2009.
    """

    in_tables = ("maxF",)

    def __init__(self) -> None:
        self._curves = np.zeros((2, 255))
        self._adaptive = np.zeros(2)
        self._num_pairs = 0

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return the maximum of its own curve."""
        levels = (np.arange(256) * 255 // max(int(pair.saliency.max()), 1)).clip(0, 254)
        curves = np.stack(precision_recall(cumulate(pair.counts, levels, 255), pair.num_subject))
        self._curves += curves
        self._adaptive += np.ravel(precision_recall(pair.at_least_adaptive, pair.num_subject))
        self._num_pairs += 1
        return {"maxF": float(f_score(*curves).max())}

    def results(self) -> dict[str, float]:
        """Maximum and mean over thresholds, and F at each map's adaptive threshold, which is twice its mean."""
        curve = self.curves()["F"]
        adaptive = f_score(*(self._adaptive / max(self._num_pairs, 1)))
        return {"maxF": float(curve.max()), "meanF": float(curve.mean()), "adpF": float(adaptive)}

    def curves(self) -> dict[str, Levels]:
        """Mean precision, mean recall and their F at each of the 255 thresholds, the lowest first."""
        precision, recall = self._curves[:, ::-1] / max(self._num_pairs, 1)
        return {"precision": precision, "recall": recall, "F": f_score(precision, recall)}


class CurveMeasure(Measure):
    """A measure with a value at each of 256 thresholds of the stretched map; curves are averaged over pictures."""

    name: str

    def __init__(self) -> None:
        self._curve = np.zeros(256)
        self._adaptive = 0.0
        self._num_pairs = 0

    @abstractmethod
    def values(self, pair: Pair, outside: NDArray[np.int64], inside: NDArray[np.int64]) -> Levels:
        """The measure of binary maps with so many pixels outside and inside the mask; arrays of any length."""

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return the maximum of its own curve."""
        values = self.values(pair, *np.column_stack((pair.at_least, pair.at_least_adaptive)))
        curve = values[:-1]
        self._curve += curve
        self._adaptive += float(values[-1])
        self._num_pairs += 1
        return {f"max{self.name}": float(curve.max())}

    def results(self) -> dict[str, float]:
        """Maximum and mean of the mean curve, and the mean at each map's adaptive threshold."""
        curve, num_pairs = self.curve(), max(self._num_pairs, 1)
        return {
            f"max{self.name}": float(curve.max()),
            f"mean{self.name}": float(curve.mean()),
            f"adp{self.name}": self._adaptive / num_pairs,
        }

    def curve(self) -> Levels:
        """The mean curve, threshold 0 first."""
        return self._curve[::-1] / max(self._num_pairs, 1)


class PictureFMeasure(CurveMeasure):
    """F-measure averaged over pictures, as in PySODMetrics: each picture has its curve, the mean curve its maximum."""

    name = "F per picture"

    def values(self, pair: Pair, outside: NDArray[np.int64], inside: NDArray[np.int64]) -> Levels:
        """F of these counts."""
        return f_score(*precision_recall((outside, inside), pair.num_subject))


class WeightedF(PictureMeasure):
    """Weighted F-measure Fw, 0 to 1: scattered errors count less, errors far from the subject more.

    Margolin, Zelnik-Manor and Tal, How to evaluate foreground maps?, CVPR 2014, with beta 1, on stretched maps. An
    empty mask scores 0. If several pixels of the mask are equally near, the definition does not say whose error counts;
    `nearest` does. Distances beyond 80 pixels are not exact, which changes a weight of 2 by at most 0.000015.
    """

    in_tables = ("Fw",)

    def score(self, pair: Pair) -> dict[str, float]:
        """Fw."""
        if not pair.num_subject:
            return {"Fw": 0.0}
        low, high = pair.extremes
        false, missed = _false(pair) / (high - low), _missed(pair) / (high - low)
        recall = 1 - missed / pair.num_subject
        precision = (pair.num_subject - missed) / (pair.num_subject - missed + false + EPSILON)
        return {"Fw": float(2 * recall * precision / (recall + precision + EPSILON))}


def _false(pair: Pair) -> float:
    """The sum of errors outside the mask, in grey levels, each with its weight: up to twice if far from the mask."""
    errors = (pair.saliency - np.uint8(pair.extremes[0])) * ~pair.mask
    wanted = np.flatnonzero(errors > 0)  # only here do distances matter
    weights = _WEIGHTS.take(squared_distances(pair.mask, wanted))
    return float((errors.take(wanted) * weights).sum())  # not @, for which BLAS may start threads


def _missed(pair: Pair) -> float:
    """The sum of errors inside the mask, in grey levels, each at most the mean of the errors around it.

    For that mean a pixel outside the mask has the error of the nearest pixel inside.
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
