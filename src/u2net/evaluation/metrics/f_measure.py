"""Measures of regions. All follow from counts of grey levels (`Pair.quadrant_counts`), exactly.

Names are those of published tables. docs/evaluate.md says how conventions differ between tools, and what becomes of
empty masks, full masks and flat maps.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from u2net.evaluation.metrics.measure import Measure, PictureMeasure
from u2net.evaluation.metrics.pair import HALF, Levels, Pair, cumulate

BETA2 = 0.3
"""Weight of precision in F-measures of saliency (Achanta et al. 2009)."""

_EPSILON = np.spacing(1.0)  # where the original MATLAB code of a measure adds eps


class MAE(PictureMeasure):
    """Mean absolute error, 0 to 1, of the map as it is and of the map stretched to fill its range.

    Perazzi et al., Saliency filters: contrast based filtering for salient region detection, CVPR 2012.
    """

    def score(self, pair: Pair) -> dict[str, float]:
        """Both errors; published tables have the stretched one."""
        errors = {"MAE": np.arange(256) / 255, "MAE stretched": pair.stretched}
        outside, inside = pair.counts
        return {
            name: float(outside @ values + inside @ (1 - values)) / pair.num_pixels for name, values in errors.items()
        }


class Overlap(PictureMeasure):
    """Intersection over union, and Dice's coefficient, of the map cut at one half and the mask, 0 to 1.

    Two empty masks overlap fully.
    """

    def score(self, pair: Pair) -> dict[str, float]:
        """IoU and Dice."""
        outside, inside = (int(n) for n in pair.counts[:, HALF:].sum(axis=1))
        union = outside + pair.num_subject
        if union == 0:
            return {"IoU": 1.0, "Dice": 1.0}
        return {"IoU": inside / union, "Dice": 2 * inside / (union + inside)}


class FMeasure(Measure):
    """F-measure of a data set as in the paper: precision and recall are averaged over pictures, F comes from the means.

    Maps are divided by their maximum. There are 255 thresholds: the two highest levels share one, as in the authors'
    tool. Achanta et al., Frequency-tuned salient region detection, CVPR 2009.
    """

    def __init__(self) -> None:
        self._curves = np.zeros((2, 255))
        self._adaptive = np.zeros(2)
        self._num_pairs = 0

    def step(self, pair: Pair) -> dict[str, float]:
        """Take a pair in; give the maximum of its own curve."""
        levels = (np.arange(256) * 255 // max(int(pair.saliency.max()), 1)).clip(0, 254)
        curves = np.stack(precision_recall(cumulate(pair.counts, levels, 255), pair.num_subject))
        self._curves += curves
        self._adaptive += np.ravel(precision_recall(pair.at_least_adaptive, pair.num_subject))
        self._num_pairs += 1
        return {"maxF": float(f_measure(*curves).max())}

    def results(self) -> dict[str, float]:
        """Maximum and mean over thresholds, and F at each map's adaptive threshold, which is twice its mean."""
        curve = self.curves()["F"]
        adaptive = f_measure(*(self._adaptive / max(self._num_pairs, 1)))
        return {"maxF": float(curve.max()), "meanF": float(curve.mean()), "adpF": float(adaptive)}

    def curves(self) -> dict[str, Levels]:
        """Mean precision, mean recall and their F at each of the 255 thresholds, the lowest first."""
        precision, recall = self._curves[:, ::-1] / max(self._num_pairs, 1)
        return {"precision": precision, "recall": recall, "F": f_measure(precision, recall)}


class _CurveMeasure(Measure):
    """A measure with a value at each of 256 thresholds of the stretched map; curves are averaged over pictures."""

    name: str

    def __init__(self) -> None:
        self._curve = np.zeros(256)
        self._adaptive = 0.0
        self._num_pairs = 0

    @abstractmethod
    def values(self, pair: Pair, outside: NDArray[np.int64], inside: NDArray[np.int64]) -> Levels:
        """The measure of a binary map that has so many pixels outside and inside the mask; arrays of any length."""

    def step(self, pair: Pair) -> dict[str, float]:
        """Take a pair in; give the maximum of its own curve."""
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


class PictureFMeasure(_CurveMeasure):
    """F-measure averaged over pictures, as in PySODMetrics: each picture has its curve, the mean curve its maximum."""

    name = "F per picture"

    def values(self, pair: Pair, outside: NDArray[np.int64], inside: NDArray[np.int64]) -> Levels:
        """F of these counts."""
        return f_measure(*precision_recall((outside, inside), pair.num_subject))


class EMeasure(_CurveMeasure):
    """Enhanced-alignment measure: agreement of map and mask after their means were taken away, about 0.25 to 1.

    Fan et al., Enhanced-alignment measure for binary foreground map evaluation, IJCAI 2018.
    """

    name = "E"

    def values(self, pair: Pair, outside: NDArray[np.int64], inside: NDArray[np.int64]) -> Levels:
        """E of these counts."""
        num_map = outside + inside
        if pair.num_subject == 0:
            total = pair.num_pixels - num_map
        elif pair.num_subject == pair.num_pixels:
            total = num_map
        else:
            map_mean, mask_mean = num_map / pair.num_pixels, pair.num_subject / pair.num_pixels
            # By map (in, out) and mask (in, out): pixels, and the values left when the means are taken away.
            num_outside = pair.num_pixels - pair.num_subject
            num = np.stack((inside, outside, pair.num_subject - inside, num_outside - outside))
            a = np.stack((1 - map_mean, -map_mean)).repeat(2, axis=0)
            b = np.array([[1 - mask_mean], [-mask_mean]] * 2)
            alignment = 2 * a * b / (a * a + b * b + _EPSILON) + 1
            total = (num * (alignment * alignment)).sum(axis=0) / 4
        return np.asarray(total / (pair.num_pixels - 1 + _EPSILON))


class SMeasure(PictureMeasure):
    """Structure measure: half likeness of object and background, half likeness of four quadrants, 0 to 1.

    Fan et al., Structure-measure: a new way to evaluate foreground maps, ICCV 2017.
    """

    def score(self, pair: Pair) -> dict[str, float]:
        """Sm. Of an empty or full mask it is how little, or how much, of the map is subject."""
        values = pair.stretched
        mean = float(pair.counts.sum(axis=0) @ values) / pair.num_pixels
        share = pair.num_subject / pair.num_pixels
        if share in (0, 1):
            return {"Sm": mean if share else 1 - mean}
        outside, inside = pair.counts
        objects = share * _likeness(inside, values) + (1 - share) * _likeness(outside, 1 - values)
        low, high = pair.extremes
        powers = (np.arange(256) - low)[:, None] ** np.arange(3)
        quadrants = (pair.quadrant_counts.reshape(4, 2, 256) @ powers).tolist()
        regions = sum(_similarity(out, in_, high - low) * (out[0] + in_[0]) for out, in_ in quadrants)
        return {"Sm": max(0.0, float(objects + regions / pair.num_pixels) / 2)}


def precision_recall(
    counted: Iterable[NDArray[np.int64] | int], num_subject: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall from pixels outside and inside the mask; 0 where nothing was found or is to be found."""
    outside, inside = (np.atleast_1d(np.asarray(n, dtype=np.float64)) for n in counted)
    return inside / np.maximum(outside + inside, 1), inside / max(num_subject, 1)


def f_measure(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """F with beta² of 0.3; 0 where both are 0."""
    weighted = BETA2 * precision + recall
    return np.asarray((1 + BETA2) * precision * recall / np.where(weighted == 0, 1, weighted))


def _likeness(counts: NDArray[np.int64], values: Levels) -> float:
    """How near to 1, and to each other, the values of some pixels are."""
    num = int(counts.sum())
    mean = float(counts @ values) / num
    deviation = math.sqrt(float(counts @ (values - mean) ** 2) / (num - 1)) if num > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + deviation + _EPSILON))


def _similarity(outside: list[int], inside: list[int], spread: int) -> float:
    """Structural similarity (the measure's own form of SSIM) of stretched map and mask in one quadrant.

    Of its pixels outside and inside the mask come number, sum and sum of squares, of levels from 0 to `spread`: whole
    numbers, so that flat quadrants are known exactly. Two of them are alike, one is like nothing.
    """
    num_subject, common, _ = inside
    num, total, squares = (a + b for a, b in zip(outside, inside, strict=True))
    if num == 0:
        return 0.0
    map_mean, mask_mean = total / num / spread, num_subject / num
    map_variance = (num * squares - total**2) / num / spread**2
    mask_variance = num_subject * (num - num_subject) / num
    covariance = (num * common - total * num_subject) / num / spread
    likeness = 4 * map_mean * mask_mean * covariance
    difference = (map_mean**2 + mask_mean**2) * (map_variance + mask_variance)
    if likeness != 0:
        return float(likeness / (difference + (num - 1) * _EPSILON))
    return 1.0 if difference == 0 else 0.0
