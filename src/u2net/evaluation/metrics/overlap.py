"""How far map and mask agree as regions (MAE, IoU, Dice) and in their outlines (BIoU, relaxF); IoU of classes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidDataset
from u2net.evaluation.metrics.base import Measure, Pair, PictureMeasure
from u2net.evaluation.metrics.f_e_s_measure import f_score
from u2net.images.morphology import Mask, boundary, grow_by_disc, thin_by_square

_HALF = 128  # the lowest grey level of one half or more
_SLACK = 3  # pixels between outlines that agree


class MAE(PictureMeasure):
    """Mean absolute error, 0 to 1, of the map as it is and of the map stretched to fill its range.

    Perazzi et al., Saliency filters: contrast based filtering for salient region detection, CVPR 2012.
    """

    in_tables = ("MAE stretched", "MAE")
    lower_is_better = True

    def score(self, pair: Pair) -> dict[str, float]:
        """Both errors; published tables print the stretched one."""
        errors = {"MAE": np.arange(256) / 255, "MAE stretched": pair.stretched}
        outside, inside = pair.counts
        return {
            name: float(outside @ values + inside @ (1 - values)) / pair.num_pixels for name, values in errors.items()
        }


class Overlap(PictureMeasure):
    """Intersection over union, and Dice's coefficient, of the map cut at one half and the mask, 0 to 1.

    Two empty masks overlap fully.
    """

    in_tables = ("IoU",)

    def score(self, pair: Pair) -> dict[str, float]:
        """IoU and Dice."""
        outside, inside = (int(n) for n in pair.counts[:, _HALF:].sum(axis=1))
        union = outside + pair.num_subject
        if union == 0:
            return {"IoU": 1.0, "Dice": 1.0}
        return {"IoU": inside / union, "Dice": 2 * inside / (union + inside)}


class BoundaryIoU(PictureMeasure):
    """Intersection over union of the rims of map and mask, 0 to 1; a rim is 2 % of the picture's diagonal wide.

    Cheng et al., Boundary IoU: improving object-centric image segmentation evaluation, CVPR 2021. Two empty masks
    score 1.
    """

    in_tables = ("BIoU",)

    def score(self, pair: Pair) -> dict[str, float]:
        """Boundary IoU."""
        width = max(1, round(0.02 * math.hypot(*pair.mask.shape)))
        found, true = (mask & ~thin_by_square(mask, width) for mask in (pair.saliency >= _HALF, pair.mask))
        union = np.count_nonzero(found | true)
        return {"BIoU": np.count_nonzero(found & true) / union if union else 1.0}


class RelaxedF(Measure):
    """F-measure of outlines with a slack of 3 pixels, relaxF of the paper's tables, 0 to 1.

    A pixel of one outline is found if the other outline is within 3 pixels (Euclidean). Precision and recall are
    averaged over pictures before F is taken, as for maxF: only so does the official U²-Net† score what the paper says.
    If one outline is missing, precision or recall is 0; if both are missing, they are 1.
    Ehrig and Euzenat, Relaxed precision and recall for ontology matching, 2005; Qin et al., BASNet, CVPR 2019.
    """

    in_tables = ("relaxF",)

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a pair; return its own F."""
        found, true = boundary(pair.saliency >= _HALF), boundary(pair.mask)
        rates = np.array([_share_near(found, true), _share_near(true, found)])
        self._add({"rates": rates})
        return {"relaxF": float(f_score(*rates))}

    def results(self) -> dict[str, float]:
        """F of the mean precision and recall."""
        return {"relaxF": float(f_score(*self._mean("rates")))}


def _share_near(outline: Mask, other: Mask) -> float:
    """The share of one outline that lies near the other."""
    num = np.count_nonzero(outline)
    return np.count_nonzero(outline & grow_by_disc(other, _SLACK)) / num if num else float(not other.any())


class ClassIoU(Measure):
    """Intersection over union of each class, their mean, and the share of right pixels (accuracy), 0 to 1.

    Pixels are counted over the whole data set before anything is divided, as in PASCAL VOC. A class that occurs neither
    in truth nor labels has no IoU and is left out of the mean. Without any pixels, mean IoU and accuracy are 1.
    Everingham et al., The PASCAL visual object classes challenge: a retrospective, IJCV 2015.
    """

    in_tables = ("mIoU", "accuracy")

    def __init__(self, classes: tuple[str, ...], ignore_index: int = 255) -> None:
        super().__init__()
        self.classes = classes
        self.ignore_index = ignore_index
        self.sums = {"counts": np.zeros((len(classes), len(classes)), np.int64)}  # by truth, then label

    def step(self, pair: Pair) -> dict[str, float]:
        """Add a map and its truth, both of indices; return their scores.

        Raises InvalidDataset for an index in the truth that is neither a class nor ignored.
        """
        num = len(self.classes)
        taken = pair.truth != self.ignore_index
        true = pair.truth[taken].astype(np.intp)
        if true.size and true.max() >= num:
            raise InvalidDataset(f"has the index {true.max()} in its mask, classes are 0 to {num - 1}")
        counts = np.bincount(true * num + pair.saliency[taken], minlength=num**2).reshape(num, num)
        self._add({"counts": counts})
        return self._scores(counts)

    def results(self) -> dict[str, float]:
        """Scores of the whole set: "mIoU", "accuracy", and "IoU" before the name of each class."""
        return self._scores(self.sums["counts"])

    def _scores(self, counts: NDArray[np.int64]) -> dict[str, float]:
        common, total = np.diagonal(counts), int(counts.sum())
        union = counts.sum(axis=0) + counts.sum(axis=1) - common
        each = {
            f"IoU {name}": float(num_common / num_union)
            for name, num_common, num_union in zip(self.classes, common, union, strict=True)
            if num_union
        }
        mean = sum(each.values()) / len(each) if each else 1.0
        accuracy = int(common.sum()) / total if total else 1.0
        return {"mIoU": mean, "accuracy": accuracy} | each
