"""Exact distances to a mask for the few pixels that need one, in numpy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 64
"""Pixels within which distances are exact."""

_FAR = 10_000
_ROWS_AT_ONCE = 8


class Nearest(NamedTuple):
    """The pixels of a mask that are nearest to some others."""

    distance: NDArray[np.float64]
    """Euclidean, in pixels."""
    place: NDArray[np.int64]
    """Flat index into the mask."""


def nearest(mask: NDArray[np.bool_], wanted: NDArray[np.int64]) -> Nearest:
    """The nearest pixel of a mask, boolean (H, W) and not empty, to each of the flat indices `wanted`.

    Exact where it lies within `REACH`; beyond that the distance is an upper bound, and the index of no use. Of several
    that are equally near, the one in the nearest row is taken, or else the upper, or else the left one.
    """
    width = mask.shape[1]
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    stride = width + REACH  # one row's ends are out of reach from the next row
    num = (bottom - top) * stride
    line = np.zeros(num + 2, dtype=np.bool_)
    line[1:-1].reshape(-1, stride)[:, :width] = mask[top:bottom]
    left, right = _neighbours(line)
    position = np.arange(num, dtype=np.int32)
    across = np.minimum(position - left, right - position)
    np.minimum(across, _FAR, out=across)
    across *= ~line[1:-1]
    across *= across
    squares = np.pad(across, 1, constant_values=_FAR**2)  # where indices out of bounds end up

    y, x = np.divmod(wanted, width)
    origin = (y - top) * stride + x
    best = squares.take(origin + 1, mode="clip")
    best_row = np.zeros_like(wanted)
    open_, open_best = np.arange(len(wanted)), best
    for first in range(1, REACH + 1, _ROWS_AT_ONCE):
        still = np.flatnonzero(open_best > first**2)
        if not len(still):
            break
        open_, open_best = open_[still], open_best[still]
        steps = np.arange(first, first + _ROWS_AT_ONCE, dtype=np.int32).repeat(2) * np.tile([-1, 1], _ROWS_AT_ONCE)
        tried = squares.take(origin[open_] + 1 + steps[:, None] * stride, mode="clip")
        tried += (steps**2)[:, None].astype(np.int32)
        choice = tried.argmin(axis=0)
        found = tried[choice, np.arange(len(choice))]
        nearer = found < open_best
        open_best = np.where(nearer, found, open_best)
        best[open_] = open_best
        best_row[open_[nearer]] = steps[choice[nearer]]
    spot = (origin + best_row * stride).clip(0, num - 1)
    beside = np.where(spot - left[spot] <= right[spot] - spot, left[spot], right[spot])
    beside = np.where(line[1:-1][spot], spot, beside).clip(0, num - 1)
    return Nearest(np.sqrt(best), (beside // stride + top) * width + beside % stride)


def _neighbours(line: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each position but the first and last, which are False: the last end of a run, and the next start of one."""
    num = line.size - 2
    changes = np.flatnonzero(line[1:] != line[:-1]).astype(np.int32)
    starts, ends = changes[0::2], changes[1::2] - 1
    none = 2 * num + _FAR
    left = np.repeat(np.append(np.int32(-none), ends), np.diff(ends, prepend=0, append=num))
    right = np.repeat(np.append(starts, np.int32(none)), np.diff(starts + 1, prepend=0, append=num))
    return left, right
