"""E-measure (enhanced alignment) and S-measure (structure)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from u2net.evaluation.metrics.base import EPSILON, Levels, Pair, PictureMeasure
from u2net.evaluation.metrics.f_e_s_measure import CurveMeasure


class EMeasure(CurveMeasure):
    """Enhanced-alignment measure: agreement of map and mask, each minus its mean; about 0.25 to 1.

    Fan et al., Enhanced-alignment measure for binary foreground map evaluation, IJCAI 2018.
    """

    in_tables = ("maxE",)

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


def _likeness(counts: NDArray[np.int64], values: Levels) -> float:
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
