"""Measures of several classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidDataset
from u2net.evaluation.metrics.measure import Sums


class ClassIoU(Sums):
    """Intersection over union of each class, their mean, and the part of the pixels that is right, 0 to 1.

    Pixels are counted over the whole data set before anything is divided, as in PASCAL VOC. A class of which neither
    truth nor labels have a pixel has no IoU and is left out of the mean. Of no pixels at all mean and part are 1.
    Everingham et al., The PASCAL visual object classes challenge: a retrospective, IJCV 2015.
    """

    def __init__(self, classes: tuple[str, ...], ignore_index: int = 255) -> None:
        self.classes = classes
        self.ignore_index = ignore_index
        self._counts = np.zeros((len(classes), len(classes)), dtype=np.int64)  # by truth, then label

    def step(self, labels: NDArray[np.uint8], truth: NDArray[np.uint8]) -> dict[str, float]:
        """Take the labels of a picture and the truth in, both uint8 (H, W) of indices; give this picture's scores.

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
