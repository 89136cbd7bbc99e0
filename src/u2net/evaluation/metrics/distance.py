"""Exact distances to a mask, and the nearest of its pixels, in numpy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from u2net.evaluation.metrics.shift import combine, end_to_end

REACH = 80
"""Pixels within which distances are exact."""

FARTHEST = 127
"""Pixels; no distance is said to be larger."""

RIM = 4
"""Steps right, left, up and down within which the nearest pixel is looked for."""

_ROUNDS = ((1, 8), (9, 20), (21, 40), (41, REACH))  # rows above and below that are tried before pixels are left out
_CROWD = 24  # a pixel costs so many times as much if looked at by itself, not with all others


def squared_distances(mask: NDArray[np.bool_], wanted: NDArray[np.int64]) -> NDArray[np.uint16]:
    """The squared distance to the nearest pixel of a mask, boolean (H, W) and not empty, for each of some pixels.

    These are given by flat indices in ascending order. Distances are exact within `REACH`; those beyond are put
    somewhere beyond it, no farther than `FARTHEST`.

    The square is the least by way of some row of the mask: of the distance within that row, and of that to the row.
    Rows are tried from near to far, for fewer and fewer pixels: those that a farther row may still be better for.
    """
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    # Of every pixel by way of its own row, and so far at best; with more rows on either side, so that none is missing.
    own = np.full((REACH + height + REACH, width), FARTHEST**2, dtype=np.uint16)
    used = own[REACH + top : REACH + bottom]  # all that other rows can have anything from
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
    """uint8 (H, W): to the nearest pixel of the mask in the same row; beyond `REACH` some number up to `FARTHEST`.

    Each step doubles how far a pixel sees: it asks its neighbours at 1, then at 2, 4, … pixels for what they know.
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
    """The pixels around a mask, and which of its pixels each is nearest to, as flat indices."""

    pixel: NDArray[np.int64]
    place: NDArray[np.int64]


def nearest(mask: NDArray[np.bool_]) -> Nearest:
    """For all pixels less than `RIM` + 1 away from a mask, boolean (H, W), the nearest of the mask.

    Of several that are equally near the leftmost is taken, and of one column's the upper: as in scipy.
    """
    width = mask.shape[1]
    keys = end_to_end(~mask * np.uint16(0x7F00), RIM, np.uint16, 0x7F00)
    # The least key is found along columns, then along rows. It holds the distance squared, and in its last byte, to
    # decide between equals, RIM more than the steps right and down, 4 bits each: the leftmost is least, then the upper.
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
