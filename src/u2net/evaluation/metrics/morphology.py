"""Growing, thinning and parting of masks, boolean (H, W), by what the measures' definitions name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from u2net.parts import Parts

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
    parts = Parts.of(mask)
    if not len(parts.areas):
        return mask.copy()
    return parts.where(np.arange(len(parts.areas)) == parts.areas.argmax())
