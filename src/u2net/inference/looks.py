"""More than one look at a picture: masks of several views, averaged.

Each function takes a way to predict and gives another that calls it twice. What they bring, and what was tried
and brought nothing, is in docs/matting.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from u2net.images.picture import Picture
from u2net.inference.session import Prediction

Pixels = NDArray[np.uint8]

Predict = Callable[[Picture], Prediction]
"""From a picture to its mask and how sure that is: `Session.predict` for one."""

_MARGIN = 0.15  # of the subject's height and width, left around it


def with_mirrored(predict: Predict) -> Predict:
    """Also look at the mirrored picture: the mean of both masks, and of both confidences. Twice the time."""

    def predict_both(picture: Picture) -> Prediction:
        first, other = predict(picture), predict(picture.mirrored())
        return Prediction(_mean(first.mask, other.mask[:, ::-1]), (first.confidence + other.confidence) / 2)

    return predict_both


def with_closer(predict: Predict) -> Predict:
    """Also look at the subject's surroundings alone: the mean of both masks. Twice the time.

    Beyond these the first mask holds alone; without a subject, or one that fills the picture, there is no second look.
    The confidence is the first look's.
    """

    def predict_closer(picture: Picture) -> Prediction:
        first = predict(picture)
        around = _surroundings(first.mask >= 128)
        if around is None or first.mask[around].shape == first.mask.shape:
            return first
        rows, columns = around
        second = predict(picture.crop((columns.start, rows.start, columns.stop, rows.stop)))
        closer = first.mask.copy()
        closer[around] = _mean(first.mask[around], second.mask)
        return Prediction(closer, first.confidence)

    return predict_closer


def _surroundings(subject: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """The box of a subject with some margin, as far as it lies in the picture; None if there is none."""
    ends = []
    for axis in (1, 0):
        inside = np.flatnonzero(subject.any(axis=axis))
        if not len(inside):
            return None
        first, last = int(inside[0]), int(inside[-1]) + 1
        margin = round(_MARGIN * (last - first)) + 8
        ends.append(slice(max(first - margin, 0), min(last + margin, subject.shape[1 - axis])))
    return ends[0], ends[1]


def _mean(one: Pixels, other: Pixels) -> Pixels:
    return ((one.astype(np.uint16) + other + 1) // 2).astype(np.uint8)
