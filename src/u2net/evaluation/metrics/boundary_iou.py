"""Boundary IoU and relaxed F-measure: how well outlines agree. Maps are cut at one half."""

from __future__ import annotations

import math

import numpy as np

from u2net.evaluation.metrics.base import HALF, Measure, Pair, PictureMeasure
from u2net.evaluation.metrics.f_e_s_measure import f_score
from u2net.images.morphology import boundary, grow_by_disc, thin_by_square


class RelaxedF(Measure):
    """F-measure of outlines with a slack of 3 pixels, relaxF of the paper's tables, 0 to 1.

    A pixel of one outline is found if the other outline is within 3 pixels (Euclidean). Precision and recall are
    averaged over pictures before F is taken, as for maxF: only so does the official U²-Net† score what the paper says.
    If one outline is missing, precision or recall is 0; if both are missing, they are 1.
    Ehrig and Euzenat, Relaxed precision and recall for ontology matching, 2005; Qin et al., BASNet, CVPR 2019.
    """

    in_tables = ("relaxF",)

    SLACK = 3

    def __init__(self) -> None:
        self._sums = np.zeros(2)
        self._num_pairs = 0

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return its own F."""
        found, true = boundary(pair.saliency >= HALF), boundary(pair.mask)
        rates = np.array([_share_near(found, true, self.SLACK), _share_near(true, found, self.SLACK)])
        self._sums += rates
        self._num_pairs += 1
        return {"relaxF": float(f_score(*rates))}

    def results(self) -> dict[str, float]:
        """F of the mean precision and recall."""
        return {"relaxF": float(f_score(*(self._sums / max(self._num_pairs, 1))))}


class BoundaryIoU(PictureMeasure):
    """Intersection over union of the rims of map and mask, 0 to 1; a rim is 2 % of the picture's diagonal wide.

    Cheng et al., Boundary IoU: improving object-centric image segmentation evaluation, CVPR 2021. Two empty masks
    score 1.
    """

    in_tables = ("BIoU",)

    def score(self, pair: Pair) -> dict[str, float]:
        """Boundary IoU."""
        width = max(1, round(0.02 * math.hypot(*pair.mask.shape)))
        found, true = (mask & ~thin_by_square(mask, width) for mask in (pair.saliency >= HALF, pair.mask))
        union = np.count_nonzero(found | true)
        return {"BIoU": np.count_nonzero(found & true) / union if union else 1.0}


def _share_near(outline: np.ndarray, other: np.ndarray, slack: int) -> float:
    """The share of one outline that lies near the other."""
    num = np.count_nonzero(outline)
    if not num:
        return float(not other.any())
    return np.count_nonzero(outline & grow_by_disc(other, slack)) / num
