"""Exact distances to a mask for the few pixels that need one, in numpy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 80
"""Pixels within which distances are exact."""

_ROUNDS = ((0, 3), (4, 9), (10, 18), (19, 32), (33, 48), (49, 64), (65, REACH))  # columns tried at once
_FAR = 2000  # the largest distance for which a key is less than 2³¹
_MIDDLE = 128  # of the last byte of a key


class Nearest(NamedTuple):
    """The pixels of a mask that are nearest to some others."""

    distance: NDArray[np.float64]
    """Euclidean, in pixels."""
    place: NDArray[np.int64]
    """Flat index into the mask."""


def nearest(mask: NDArray[np.bool_], wanted: NDArray[np.int64]) -> Nearest:
    """The nearest pixel of a mask, boolean (H, W) and not empty, to each of the flat indices `wanted`.

    Exact where it lies within `REACH`; what lies farther is put somewhere beyond, and its index is of no use. Of
    several that are equally near, the leftmost is taken, and of one column's the upper: as in scipy.

    The nearest in its own column is found for every pixel; then, for those wanted, the best of the columns around.
    """
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    stride = REACH + height  # columns are laid end to end, out of each other's reach, with nothing near either end
    line = np.zeros((right - left + 1, stride), dtype=np.bool_)
    line[:-1, REACH:] = mask.T[left:right]
    offsets = _offsets(line.ravel())
    squares = offsets * offsets
    squares <<= 8  # the upper bytes of keys

    y, x = np.divmod(wanted, width)
    origin = (x - left) * stride + REACH + y
    above = _offsets(np.pad(mask.any(axis=1), 1))[1:-1]  # to the nearest row that has some of the mask
    least = (above * above << 8)[y]  # what no column can get below
    best = np.full(len(wanted), _FAR**2 << 8, dtype=np.int32)
    open_ = np.arange(len(wanted))
    for first, last in _ROUNDS:
        keys = _keys(squares, origin[open_], stride, first, last)
        best[open_] = np.minimum(best[open_], keys)
        open_ = np.flatnonzero(best - least >= (last + 1) ** 2 << 8)
        if not len(open_):
            break
    step = (best & 255) - _MIDDLE
    row = y + offsets.take(origin + step * stride, mode="clip")
    return Nearest(np.sqrt(best >> 8), np.clip(row * width + x + step, 0, mask.size - 1))


def _offsets(line: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How far on the nearest True is, of two the earlier, from each position of a line with False at both ends."""
    changes = np.flatnonzero(line[1:] != line[:-1]).astype(np.int32)
    edges = changes + np.tile(np.array([1, 0], dtype=np.int32), len(changes) // 2)  # first and last of each run
    bounds = np.append((edges[:-1] + edges[1:]) // 2 + 1, np.int32(len(line)))
    offsets = np.repeat(edges, np.diff(bounds, prepend=np.int32(0)))
    offsets -= np.arange(len(line), dtype=np.int32)
    np.copyto(offsets, 0, where=line)
    return np.clip(offsets, -_FAR, _FAR, out=offsets)


def _keys(
    squares: NDArray[np.int32], origin: NDArray[np.int64], stride: int, first: int, last: int
) -> NDArray[np.int32]:
    """The least key for each of these positions, among the columns from `first` to `last` steps away.

    A key is a distance squared, and in its last byte the step to the column: of equals the leftmost is least.
    """
    steps = np.array([*range(-last, 1 - first), *range(max(first, 1), last + 1)])[:, None]
    keys = squares.take(origin + steps * stride, mode="clip")
    keys += ((steps**2 << 8) + steps + _MIDDLE).astype(np.int32)
    return np.asarray(keys.min(axis=0))
