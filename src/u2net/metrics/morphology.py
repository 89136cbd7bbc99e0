"""Growing, thinning and parting of masks, boolean (H, W), by what the measures' definitions name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def grow_by_square(mask: Mask, radius: int) -> Mask:
    """All pixels of the squares of 2 × radius + 1 around the pixels of a mask."""
    for axis in (0, 1):
        before = mask.swapaxes(0, axis)
        grown = before.copy(order="K")
        for step in range(1, min(radius, len(before) - 1) + 1):
            grown[step:] |= before[:-step]
            grown[:-step] |= before[step:]
        mask = grown.swapaxes(0, axis)
    return mask


def grow_by_disc(mask: Mask, radius: int) -> Mask:
    """All pixels at most `radius` away, in Euclidean distance, from a pixel of a mask of few pixels."""
    padded = np.zeros((mask.shape[0] + 2 * radius, mask.shape[1] + 2 * radius), dtype=np.bool_)
    rows, columns = np.nonzero(mask)
    steps = range(2 * radius + 1)
    for dy in steps:
        for dx in steps:
            if (dy - radius) ** 2 + (dx - radius) ** 2 <= radius**2:
                padded[rows + dy, columns + dx] = True
    return padded[radius:-radius, radius:-radius]


def thin_by_square(mask: Mask, radius: int) -> Mask:
    """Pixels whose squares of 2 × radius + 1 lie within the mask; beyond the border nothing does."""
    outside = np.pad(~mask, radius, constant_values=True)
    return ~grow_by_square(outside, radius)[radius:-radius, radius:-radius]


def boundary(mask: Mask) -> Mask:
    """Pixels of a mask that have one of their four neighbours outside of it, or beyond the border."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def largest_part(mask: Mask) -> Mask:
    """The largest 4-connected part of a mask, boolean (H, W), the first in reading order of several; may be empty."""
    stride = mask.shape[1] + 1  # a column of False keeps rows apart
    line = np.pad(mask, ((0, 0), (0, 1))).ravel()
    changes = np.flatnonzero(np.diff(line, prepend=False))
    starts, ends = changes[0::2], changes[1::2]  # of runs
    if not len(starts):
        return mask.copy()
    first = np.searchsorted(ends, starts + stride, side="right")  # of the runs that a run touches in the next row
    num = np.searchsorted(starts, ends + stride) - first
    upper = np.arange(len(starts)).repeat(num)
    lower = np.arange(len(upper)) - (num.cumsum() - num - first).repeat(num)
    root = _roots(len(starts), upper, lower)
    largest = np.bincount(root, weights=ends - starts).argmax()
    part = np.zeros_like(mask)
    part[mask] = (root == largest).repeat(ends - starts)
    return part


def _roots(num: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `num` nodes the first node that it is joined with, by edges from `one` to `other`."""
    root = np.arange(num)
    while len(one):
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while (root != (further := root[root])).any():
            root = further
        one, other = root[one], root[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return root
