"""Exact distances to a mask, and the nearest of its pixels, for the weighted F-measure.

This is numpy, not scipy.ndimage.distance_transform_edt: `u2net evaluate` works in the light install, which may weigh
170 MB, and scipy alone weighs 143 MB. Tests compare the two.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 80
"""Pixels within which distances are exact."""

FARTHEST = 127
"""Pixels; no returned distance is larger."""

RIM = 4
"""Steps right, left, up and down within which the nearest pixel is searched for."""

_ROUNDS = ((1, 8), (9, 20), (21, 40), (41, REACH))  # rows above and below that are tried before pixels are left out
_CROWD = 24  # a pixel alone costs so many times as much as one among all others


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


class Nearest(NamedTuple):
    """Pixels around a mask, and for each the nearest pixel of the mask, as flat indices."""

    pixel: NDArray[np.int64]
    place: NDArray[np.int64]


def nearest(mask: NDArray[np.bool_]) -> Nearest:
    """The nearest pixel of a mask, boolean (H, W), for every pixel less than `RIM` + 1 away from it.

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
    return Nearest(pixel, pixel + ((steps & 15) - RIM) * width + (steps >> 4) - RIM)


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
