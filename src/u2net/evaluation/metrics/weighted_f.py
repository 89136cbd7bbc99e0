"""Weighted F-measure (Fw), and the exact distances to a mask and nearest pixels of it that it needs.

Distances are numpy's work, not scipy.ndimage.distance_transform_edt's: `u2net evaluate` works in the light install,
which may weigh 170 MB, and scipy alone weighs 143 MB. Tests compare the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from u2net.evaluation.metrics.base import EPSILON, Pair, PictureMeasure

REACH = 80
"""Pixels within which distances are exact."""

FARTHEST = 127
"""Pixels; no returned distance is larger."""

RIM = 4
"""Steps right, left, up and down within which the nearest pixel is searched for."""

_RADIUS, _SIGMA = 3, 5  # of the Gaussian over which errors spread, pixels
_KERNEL = np.exp(-0.5 * (np.arange(_RADIUS + 1) / _SIGMA) ** 2)  # one half of it, from the middle
_KERNEL = (_KERNEL / (2 * _KERNEL.sum() - _KERNEL[0])).astype(np.float32)
_WEIGHTS = 2 - 0.5 ** (np.sqrt(np.arange(FARTHEST**2 + 1)) / 5)  # of false pixels by squared distance from the mask

_ROUNDS = ((1, 8), (9, 20), (21, 40), (41, REACH))  # rows above and below that are tried before pixels are left out
_CROWD = 24  # a pixel alone costs so many times as much as one among all others


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
    rows, columns = np.flatnonzero(pair.num_in_rows), np.flatnonzero(pair.num_in_columns)
    around = tuple(slice(max(0, used[0] - _RADIUS), used[-1] + 1 + _RADIUS) for used in (rows, columns))
    mask = pair.mask[around]
    errors = (np.uint8(pair.extremes[1]) - pair.saliency[around]) * mask
    spread = errors.copy()
    pixels, places = nearest(mask)
    spread.ravel()[pixels] = errors.take(places)
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


def squared_distances(mask: NDArray[np.bool_], wanted: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The squared distance from each wanted pixel to the nearest pixel of a mask, boolean (H, W) and not empty.

    Wanted pixels are flat indices in ascending order. Distances are exact up to `REACH`; larger ones come out somewhere
    between `REACH` and `FARTHEST`.

    A squared distance is the least, over the rows of the mask, of the squared distance to the row plus the squared
    distance within it. Rows are tried from near to far, only for pixels that a farther row may still improve.
    """
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    # Of every pixel within its own row, then the best so far; padded with rows on both sides, so that none is missing.
    own = np.full((REACH + height + REACH, width), FARTHEST**2, dtype=np.uint16)
    used = own[REACH + top : REACH + bottom]  # the rows that hold pixels of the mask
    np.square(_distances_in_rows(mask[top:bottom]), dtype=np.uint16, out=used)
    best, through = own.copy(), np.empty_like(used)
    places = open_ = wanted + REACH * width
    for first, last in _ROUNDS:
        if len(open_) * _CROWD > mask.size:
            for step in range(first, last + 1):
                np.add(used, step**2, out=through)
                for way in (step, -step):
                    there = best[REACH + top + way : REACH + bottom + way]
                    np.minimum(there, through, out=there)
        else:
            steps = np.arange(first, last + 1)[:, None]
            for way, begin, end in ((1, top + first, bottom + last), (-1, top - last, bottom - first)):
                there = open_[slice(*open_.searchsorted([(REACH + row) * width for row in (begin, end)]))]
                throughs = own.take(there - way * width * steps)
                throughs += (steps**2).astype(np.uint16)
                best.ravel()[there] = np.minimum(best.take(there), throughs.min(axis=0))
        open_ = open_[best.take(open_) > (last + 1) ** 2]
        if not len(open_):
            break
    return np.asarray(best.take(places))


def _distances_in_rows(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """uint8 (H, W): to the nearest pixel of the mask in the same row; beyond `REACH` any number up to `FARTHEST`.

    Each step doubles the distance searched: a pixel compares with its neighbours at 1, then 2, 4, … pixels.
    """
    width = mask.shape[1]
    padded = end_to_end(~mask * np.uint8(FARTHEST), REACH, np.uint8, FARTHEST)
    line = padded.ravel()
    through = np.empty_like(line)
    for step in (1, 2, 4, 8, 16, 32, 64):
        np.add(line, step, out=through)
        combine(np.minimum, line, through, step)
        combine(np.minimum, line, through, -step)
    return padded[:, :width]


def nearest(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels less than `RIM` + 1 away from a mask, boolean (H, W), and the nearest of the mask's: flat indices of both.

    Of equally near pixels the leftmost is taken, of those the upper one, as in scipy.
    """
    width = mask.shape[1]
    keys = end_to_end(~mask * np.uint16(0x7F00), RIM, np.uint16, 0x7F00)
    # The least key is found along columns, then along rows. Its high byte is the squared distance; its low byte decides
    # between equals: the steps right and down plus RIM, 4 bits each, so that the leftmost is least, then the upper.
    for pitch, unit in ((keys.shape[1], 1), (1, 16)):
        before = keys.ravel()
        best = before + np.uint16(RIM * unit)
        for step in range(1, RIM + 1):
            for way in (step, -step):
                combine(np.minimum, best, before + np.uint16((step**2 << 8) + (RIM - way) * unit), way * pitch)
        keys = best.reshape(keys.shape)
    line = keys[:, :width].ravel()
    line -= np.uint16(1 << 8)  # which makes the keys of the mask itself, whose distance is 0, the largest of all
    pixel = np.flatnonzero(line < RIM * (RIM + 2) << 8)
    steps = (line.take(pixel) & 255).astype(np.int64)
    return pixel, pixel + ((steps & 15) - RIM) * width + (steps >> 4) - RIM


def end_to_end(picture: NDArray[Any], gap: int, dtype: type[np.generic], fill: float = 0) -> NDArray[Any]:
    """A copy (H, W + gap) of a picture (H, W), with that many pixels of `fill` after each row.

    So the whole picture is one line, and a shift of up to the gap moves no pixel into another row. numpy is several
    times slower on slices of many rows than on one line of as many pixels.
    """
    height, width = picture.shape
    padded = np.full((height, width + gap), fill, dtype=dtype)
    padded[:, :width] = picture
    return padded


def combine(operation: np.ufunc, line: NDArray[Any], other: NDArray[Any], step: int) -> None:
    """Combine a line in place with another of its length, shifted by `step`; what leaves the line is lost."""
    if step > 0:
        operation(line[step:], other[:-step], out=line[step:])
    else:
        operation(line[:step], other[-step:], out=line[:step])
