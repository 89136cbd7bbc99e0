"""The subject's own colours where they are mixed with what was behind it.

Germer et al., Fast multi-level foreground estimation, ICPR 2020. A pixel's colour is alpha × F + (1 − alpha) × B. F and
B are found together, coarse to fine, as those that explain it and resemble their neighbours', the more so where alpha
changes. Ours keeps the authors' cost and number of rounds; it halves sizes exactly, updates first the even and then the
odd pixels of a round, and at larger levels only those near a change of alpha.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Colors = NDArray[np.uint8 | np.uint16]
Level = TypeVar("Level", np.uint8, np.uint16)
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Area = tuple[slice, slice]

_REGULAR = np.float32(1e-5)  # weight of resemblance where alpha is constant; the authors' value
_COARSE = 8  # pixels; levels from here up are of the whole picture, those below of tiles
_TILE, _HALO = 512, 16  # pixels, multiples of _COARSE; two rounds at 4, 2 and 1 pixels reach 14 far
_SMALL = 32  # longer side up to which a level takes more rounds, for those must carry colours far
_ROUNDS, _ROUNDS_SMALL = 2, 10


def foreground(image: NDArray[Level], alpha: Pixels) -> NDArray[Level]:
    """The picture with the background taken out of its colours, as it came: uint8 or uint16 (H, W, 3).

    `alpha` is uint8 (H, W).

    Colours change where alpha is 1 to 254, nowhere else, and are straight: they are to be shown with the same alpha.
    Time follows the pixels of such alpha; memory, beyond the result, is little more than the picture's own.
    """
    if image.ndim != 3 or image.shape[2] != 3 or alpha.shape != image.shape[:2]:
        raise ValueError(f"an image is (H, W, 3) and its alpha (H, W), got {image.shape} and {alpha.shape}")
    result = image.copy()
    tiles = list(_tiles(alpha))
    if not tiles:
        return result
    coarse = _coarse(image, alpha)
    for tile, around in tiles:
        pair = coarse[tuple(slice(ends.start // _COARSE, -(-ends.stop // _COARSE)) for ends in around)]
        for pixels, active, needed in _plan(alpha[around]):
            pair = _finer(pair, image[around], alpha[around], pixels, active, needed)
        mixed = _mixed(alpha[tile])
        y, x = tile[0].start - around[0].start, tile[1].start - around[1].start
        colors = pair[y : y + mixed.shape[0], x : x + mixed.shape[1], :3][mixed]
        result[tile][mixed] = (colors * _peak(image) + np.float32(0.5)).astype(image.dtype)
    return result


def _peak(image: Colors) -> int:
    return int(np.iinfo(image.dtype).max)


def _mixed(alpha: Pixels) -> Mask:
    return (alpha > 0) & (alpha < 255)


def _tiles(alpha: Pixels) -> Iterator[tuple[Area, Area]]:
    """Areas that hold mixed pixels, and with each the area around it that bears on them."""
    height, width = alpha.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            bottom, right = min(top + _TILE, height), min(left + _TILE, width)
            if _mixed(alpha[top:bottom, left:right]).any():
                rows = slice(max(top - _HALO, 0), min(bottom + _HALO, height))
                columns = slice(max(left - _HALO, 0), min(right + _HALO, width))
                yield (slice(top, bottom), slice(left, right)), (rows, columns)


def _samples(length: int, pixels: int) -> NDArray[np.intp]:
    """Where one pixel in so many is taken. Means would not do: colour and alpha must be those of one mixture."""
    return np.minimum(np.arange(pixels // 2, length + pixels // 2, pixels), length - 1)


def _coarse(image: Colors, alpha: Pixels) -> Floats:
    """F and B of the whole picture at one pixel in `_COARSE`: float32 (h, w, 6)."""
    chosen = np.ix_(*(_samples(length, _COARSE) for length in alpha.shape))
    colors, opacity = image[chosen], alpha[chosen]
    pures = (opacity > 0.9 * 255, opacity < 0.1 * 255)
    means = [colors[pure if pure.any() else ...].reshape(-1, 3).mean(axis=0) / _peak(image) for pure in pures]
    pair = np.concatenate(means, dtype=np.float32).reshape(1, 1, 6)
    pixels = _COARSE
    while pixels < max(alpha.shape):
        pixels *= 2
    while pixels >= _COARSE:
        everywhere = np.ones([-(-length // pixels) for length in alpha.shape], dtype=np.bool_)
        pair = _finer(pair, image, alpha, pixels, everywhere, everywhere)
        pixels //= 2
    return pair


def _plan(alpha: Pixels) -> list[tuple[int, Mask, Mask]]:
    """The levels below `_COARSE`, coarse to fine: pixels to one sample, the samples to update, those to know at all."""
    plan: list[tuple[int, Mask, Mask]] = []
    pixels = 1
    while pixels < _COARSE:
        sampled = alpha[np.ix_(*(_samples(length, pixels) for length in alpha.shape))]
        active = _mixed(sampled) if pixels == 1 else _near_changes(sampled)
        needed = _grown(active)
        if plan:  # what the finer level starts from
            finer = np.pad(plan[0][2], [(0, length % 2) for length in plan[0][2].shape])
            needed |= finer[0::2, 0::2] | finer[1::2, 0::2] | finer[0::2, 1::2] | finer[1::2, 1::2]
        plan.insert(0, (pixels, active, needed))
        pixels *= 2
    return plan


def _near_changes(alpha: Pixels) -> Mask:
    """Pixels in or next to which alpha is mixed or changes."""
    near = _mixed(alpha)
    for axis in (0, 1):
        values, marked = alpha.swapaxes(0, axis), near.swapaxes(0, axis)
        differ = values[1:] != values[:-1]
        marked[1:] |= differ
        marked[:-1] |= differ
    return _grown(near)


def _grown(mask: Mask) -> Mask:
    """A mask and the four neighbours of its pixels."""
    grown = mask.copy()
    for axis in (0, 1):
        before, after = mask.swapaxes(0, axis), grown.swapaxes(0, axis)
        after[1:] |= before[:-1]
        after[:-1] |= before[1:]
    return grown


def _finer(coarse: Floats, image: Colors, alpha: Pixels, pixels: int, active: Mask, needed: Mask) -> Floats:
    """F and B, float32 (h, w, 6), of a level with one sample in so many pixels, from the level above.

    What is not needed is left as memory happened to be; `active` is within `needed`, with its neighbours.
    """
    height, width = needed.shape
    y, x = np.nonzero(needed)
    rows, columns = (_samples(length, pixels) for length in alpha.shape)
    own = alpha[rows[y], columns[x]] * np.float32(1 / 255)
    colors = image[rows[y], columns[x]] * np.float32(1 / _peak(image))
    start = coarse[y // 2, x // 2]
    start[:, :3][own == 1] = colors[own == 1]
    start[:, 3:][own == 0] = colors[own == 0]
    pair, opacity = np.empty((height * width, 6), dtype=np.float32), np.empty(height * width, dtype=np.float32)
    pair[y * width + x], opacity[y * width + x] = start, own

    updates = []
    for parity in (0, 1):
        chosen = active[y, x] & ((y + x) % 2 == parity)
        cy, cx = y[chosen], x[chosen]
        sideways = (cy * width + np.minimum(cx + 1, width - 1), cy * width + np.maximum(cx - 1, 0))
        neighbours = (*sideways, np.minimum(cy + 1, height - 1) * width + cx, np.maximum(cy - 1, 0) * width + cx)
        updates.append(_Update(cy * width + cx, neighbours, opacity, colors[chosen]))
    for _ in range(_ROUNDS_SMALL if max(height, width) <= _SMALL else _ROUNDS):
        for update in updates:
            update.apply(pair)
    return pair.reshape(height, width, 6)


class _Update:
    """Sets F and B of some pixels to what is best beside their neighbours' (the 2 × 2 systems of the paper)."""

    def __init__(
        self, pixels: NDArray[np.intp], neighbours: tuple[NDArray[np.intp], ...], opacity: Floats, colors: Floats
    ) -> None:
        own = opacity[pixels][:, None]
        rest = 1 - own
        self.pixels, self.neighbours = pixels, neighbours
        self.weights = [np.abs(own - opacity[beside][:, None]) + _REGULAR for beside in neighbours]
        total = sum(self.weights[1:], self.weights[0])
        f_f, f_b, b_b = own * own + total, own * rest, rest * rest + total
        scale = 1 / (f_f * b_b - f_b * f_b)
        self.f_f, self.f_b, self.b_b = f_f * scale, f_b * scale, b_b * scale
        self.mixture = np.concatenate([own * colors, rest * colors], axis=1)

    def apply(self, pair: Floats) -> None:
        """Update F and B, (N, 6), of a level in place."""
        wanted = self.mixture.copy()
        for beside, weight in zip(self.neighbours, self.weights, strict=True):
            wanted += weight * pair.take(beside, axis=0)
        f, b = wanted[:, :3], wanted[:, 3:]
        solved = [self.b_b * f - self.f_b * b, self.f_f * b - self.f_b * f]
        pair[self.pixels] = np.concatenate(solved, axis=1).clip(0, 1)
