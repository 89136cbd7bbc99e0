"""Connected parts of masks; erosion and dilation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """The 4-connected parts of a mask, held by the runs of its rows: memory follows the outlines, not the area."""

    mask: Mask
    """The mask, (H, W)."""
    part_of_run: NDArray[np.intp]
    """(R,): the part that each run of set pixels belongs to, in reading order; parts are counted from 0."""
    run_lengths: NDArray[np.intp]
    """(R,): pixels of each run."""
    areas: NDArray[np.intp]
    """(P,): pixels of each part, in the reading order of their first pixels."""

    @classmethod
    def of(cls, mask: Mask) -> Parts:
        """Find the parts of a boolean (H, W)."""
        stride = mask.shape[1] + 1  # a column of False keeps rows apart
        line = np.pad(mask, ((0, 0), (0, 1))).ravel()
        changes = np.flatnonzero(line[1:] != line[:-1]) + 1
        if line.size and line[0]:
            changes = np.insert(changes, 0, 0)
        starts, ends = changes[0::2], changes[1::2]
        first = np.searchsorted(ends, starts + stride, side="right")  # of the runs that a run touches in the next row
        num = np.searchsorted(starts, ends + stride) - first
        upper = np.arange(len(starts)).repeat(num)
        lower = np.arange(len(upper)) - (num.cumsum() - num - first).repeat(num)
        _, part_of_run = np.unique(_roots(len(starts), upper, lower), return_inverse=True)
        areas = np.bincount(part_of_run, weights=ends - starts).astype(np.intp)
        return cls(mask, part_of_run, ends - starts, areas)

    def where(self, chosen: Mask) -> Mask:
        """The pixels of the chosen parts, boolean (H, W); `chosen` is boolean (P,)."""
        pixels = np.zeros_like(self.mask)
        pixels[self.mask] = chosen[self.part_of_run].repeat(self.run_lengths)
        return pixels

    def touching(self, other: Mask) -> Mask:
        """Which parts hold a pixel of another mask of the same shape: boolean (P,)."""
        if not len(self.areas):
            return np.zeros(0, dtype=np.bool_)
        firsts = self.run_lengths.cumsum() - self.run_lengths
        runs = np.logical_or.reduceat(other[self.mask], firsts)
        return np.bincount(self.part_of_run, weights=runs, minlength=len(self.areas)) > 0


def _roots(num: int, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
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
    parts = Parts.of(mask)
    if not len(parts.areas):
        return mask.copy()
    return parts.where(np.arange(len(parts.areas)) == parts.areas.argmax())
