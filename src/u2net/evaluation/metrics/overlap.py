"""MAE, IoU and Dice of a map; IoU of several classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidDataset
from u2net.evaluation.metrics.base import HALF, Pair, PictureMeasure, Sums


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
        outside, inside = (int(n) for n in pair.counts[:, HALF:].sum(axis=1))
        union = outside + pair.num_subject
        if union == 0:
            return {"IoU": 1.0, "Dice": 1.0}
        return {"IoU": inside / union, "Dice": 2 * inside / (union + inside)}


class ClassIoU(Sums):
    """Intersection over union of each class, their mean, and the share of right pixels (accuracy), 0 to 1.

    Pixels are counted over the whole data set before anything is divided, as in PASCAL VOC. A class that occurs neither
    in truth nor labels has no IoU and is left out of the mean. Without any pixels, mean IoU and accuracy are 1.
    Everingham et al., The PASCAL visual object classes challenge: a retrospective, IJCV 2015.
    """

    def __init__(self, classes: tuple[str, ...], ignore_index: int = 255) -> None:
        self.classes = classes
        self.ignore_index = ignore_index
        self._counts = np.zeros((len(classes), len(classes)), dtype=np.int64)  # by truth, then label

    def step(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, float]:
        """Add the labels of a picture and their truth, both uint8 (H, W) of indices; return this picture's scores.

        Raises InvalidDataset for an index in the truth that is neither a class nor ignored.
        """
        num = len(self.classes)
        taken = truth != self.ignore_index
        true = truth[taken].astype(np.intp)
        if true.size and true.max() >= num:
            raise InvalidDataset(f"has the index {true.max()} in its mask, classes are 0 to {num - 1}")
        counts = np.bincount(true * num + labels[taken], minlength=num**2).reshape(num, num)
        self._counts += counts
        return self._scores(counts)

    def results(self) -> dict[str, float]:
        """Scores of the whole set: "mIoU", "accuracy", and "IoU" before the name of each class."""
        return self._scores(self._counts)

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
