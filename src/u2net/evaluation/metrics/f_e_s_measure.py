"""F-measures of a data set and averaged over pictures, E-measure (enhanced alignment), S-measure (structure).

All follow from counts of pixels. docs/evaluate.md says how conventions differ between tools, and what empty masks, full
masks and flat maps score.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from u2net.evaluation.metrics.base import EPSILON, Levels, Measure, Pair, PictureMeasure, cumulate

Counts = NDArray[np.int64]
"""int64 (N,): pixels, for each of N thresholds."""

_BETA2 = 0.3  # the weight of precision in F-measures of saliency (Achanta et al. 2009)


def f_score(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """F with beta² of 0.3; 0 where both are 0."""
    weighted = _BETA2 * precision + recall
    return np.asarray((1 + _BETA2) * precision * recall / np.where(weighted == 0, 1, weighted))


def _precision_recall(pair: Pair, outside: Counts, inside: Counts) -> NDArray[np.float64]:
    """(2, …) from pixels outside and inside the mask; 0 where nothing was found or is to be found."""
    return np.stack((inside / np.maximum(outside + inside, 1), inside / max(pair.num_subject, 1)))


class FMeasure(Measure):
    """F-measure of a data set as in the paper: the F of mean precision and mean recall over all pictures.

    Maps are divided by their maximum. There are 255 thresholds: the two highest levels share one, as in the authors'
    tool. Achanta et al., Frequency-tuned salient region detection, CVPR 2009.
    """

    in_tables = ("maxF",)

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return the maximum of its own curve."""
        levels = (np.arange(256) * 255 // max(int(pair.saliency.max()), 1)).clip(0, 254)
        curves = _precision_recall(pair, *cumulate(pair.counts, levels, 255))
        self._add({"curves": curves, "adaptive": _precision_recall(pair, *pair.at_least_adaptive)})
        return {"maxF": float(f_score(*curves).max())}

    def results(self) -> dict[str, float]:
        """Maximum and mean over thresholds, and F at each map's adaptive threshold, which is twice its mean."""
        curve, adaptive = self.curves()["F"], f_score(*self._mean("adaptive"))
        return {"maxF": float(curve.max()), "meanF": float(curve.mean()), "adpF": float(adaptive)}

    def curves(self) -> dict[str, Levels]:
        """Mean precision, mean recall and their F at each of the 255 thresholds, the lowest first."""
        precision, recall = self._mean("curves")[:, ::-1]
        return {"precision": precision, "recall": recall, "F": f_score(precision, recall)}


class CurveMeasure(Measure):
    """A measure with a value at each of 256 thresholds of the stretched map; curves are averaged over pictures."""

    name: str

    @abstractmethod
    def values(self, pair: Pair, outside: Counts, inside: Counts) -> Levels:
        """The measure of binary maps with so many pixels outside and inside the mask; arrays of any length."""

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return the maximum of its own curve."""
        values = self.values(pair, *np.column_stack((pair.at_least, pair.at_least_adaptive)))
        curve, adaptive = values[:-1], float(values[-1])
        self._add({"curve": curve, "adaptive": adaptive})
        return {f"max{self.name}": float(curve.max())}

    def results(self) -> dict[str, float]:
        """Maximum and mean of the mean curve, and the mean at each map's adaptive threshold."""
        found = {"max": self.curve().max(), "mean": self.curve().mean(), "adp": self._mean("adaptive")}
        return {f"{kind}{self.name}": float(value) for kind, value in found.items()}

    def curve(self) -> Levels:
        """The mean curve, threshold 0 first."""
        return np.asarray(self._mean("curve")[::-1])


class PictureFMeasure(CurveMeasure):
    """F-measure averaged over pictures, as in PySODMetrics: each picture has its curve, the mean curve its maximum."""

    name = "F per picture"

    def values(self, pair: Pair, outside: Counts, inside: Counts) -> Levels:
        """F of these counts."""
        return f_score(*_precision_recall(pair, outside, inside))


class EMeasure(CurveMeasure):
    """Enhanced-alignment measure: agreement of map and mask, each minus its mean; about 0.25 to 1.

    Fan et al., Enhanced-alignment measure for binary foreground map evaluation, IJCAI 2018.
    """

    in_tables = ("maxE",)

    name = "E"

    def values(self, pair: Pair, outside: Counts, inside: Counts) -> Levels:
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
            alignment = 2 * a * b / (a * a + b * b + EPSILON) + 1
            total = (num * (alignment * alignment)).sum(axis=0) / 4
        return np.asarray(total / (pair.num_pixels - 1 + EPSILON))


class SMeasure(PictureMeasure):
    """Structure measure: half likeness of object and background, half likeness of four quadrants, 0 to 1.

    Fan et al., Structure-measure: a new way to evaluate foreground maps, ICCV 2017.
    """

    in_tables = ("Sm",)

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


def _likeness(counts: Counts, values: Levels) -> float:
    """How near to 1, and to each other, the values of some pixels are."""
    num = int(counts.sum())
    mean = float(counts @ values) / num
    deviation = math.sqrt(float(counts @ (values - mean) ** 2) / (num - 1)) if num > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + deviation + EPSILON))


def _similarity(outside: list[int], inside: list[int], spread: int) -> float:
    """Structural similarity (the measure's own form of SSIM) of stretched map and mask in one quadrant.

    `outside` and `inside` hold number, sum and sum of squares of its pixels outside and inside the mask, of levels 0 to
    `spread`: whole numbers, so that flat quadrants are found exactly. Two flat ones are alike, one alone is not.
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
        return float(likeness / (difference + (num - 1) * EPSILON))
    return 1.0 if difference == 0 else 0.0
