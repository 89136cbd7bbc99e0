"""The network's maps of a film, each joined with its neighbours' along the motion of the picture.

The network sees each frame for itself, so an outline that it is not sure of flickers. What a neighbouring frame says of
the same place is as good. Where that place lies is found by comparing small grey pictures: blocks around each pixel
are looked for nearby, coarse to fine. What does not look alike there, as behind something that moved away, counts for
nothing, and nothing is joined across a cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Item = TypeVar("Item")

AHEAD = 3
"""Frames that are waited for."""

_SIDE = 160  # pixels of the square grey pictures
_LEVELS = ((4, 4), (2, 1), (1, 1))  # of the search: pixels to one of the level, and how many of these it goes each way
_BLOCK = 3  # radius of what is compared, in pixels of the level
_ALIKE = 0.04  # difference of grey, 0 to 1, at which a place counts for 1/e
_CUT = 0.18  # mean difference of grey from which on a frame belongs to another scene


@dataclass(frozen=True)
class Look(Generic[Item]):
    """What the network put out for a frame, and what is needed to follow its motion."""

    item: Item
    """What the caller knows of the frame."""
    output: Floats
    """(C, h, w)."""
    grey: Floats
    """(S, S) in [0, 1]."""


def small_grey(image: Image.Image) -> Floats:
    """A picture as `Look.grey`."""
    return np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32) / np.float32(255)


def steadied(looks: Iterable[Look[Item]], strength: float) -> Iterator[Look[Item]]:
    """The same looks in their order, with outputs that are means along the motion of up to 7 frames.

    `strength`, 0 to 1, is the weight of each neighbour beside the frame's own 1.
    """
    window: deque[Look[Item]] = deque()
    current = 0
    for look in looks:
        window.append(look)
        if len(window) - current > AHEAD:
            yield _joined(window, current, strength)
            current += 1
        if current > AHEAD:
            window.popleft()
            current -= 1
    while current < len(window):
        yield _joined(window, current, strength)
        current += 1


def _joined(window: deque[Look[Item]], current: int, strength: float) -> Look[Item]:
    own = window[current]
    total, weights = own.output.copy(), np.ones(own.output.shape[1:], np.float32)
    for step in (-1, 1):
        index = current + step
        while 0 <= index < len(window) and abs(index - current) <= AHEAD:
            other = window[index]
            if np.abs(other.grey - window[index - step].grey).mean() > _CUT:
                break
            flow, alike = motion(own.grey, other.grey)
            weight = strength * _enlarged(alike, weights.shape)
            total += weight * moved(other.output, flow)
            weights += weight
            index += step
    return Look(own.item, total / weights, own.grey)


def motion(here: Floats, there: Floats) -> tuple[Floats, Floats]:
    """Where each pixel of one grey picture, (S, S), lies in another, and how alike both places are.

    The first is (2, S, S), how far down and to the right, in pixels; the second (S, S), 0 to 1.
    """
    flow = np.zeros((2, 1, 1), np.int64)
    difference = here
    for pixels, reach in _LEVELS:
        one, other = _reduced(here, pixels), _reduced(there, pixels)
        size = one.shape[0]
        scale = size // flow.shape[1] if flow.shape[1] > 1 else 1
        start = (
            flow.repeat(scale, 1).repeat(scale, 2) * scale if flow.shape[1] > 1 else np.zeros((2, size, size), np.int64)
        )
        rows, columns = np.mgrid[:size, :size]
        best = np.full((size, size), np.inf, np.float32)
        flow = start.copy()
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                y = (rows + start[0] + down).clip(0, size - 1)
                x = (columns + start[1] + right).clip(0, size - 1)
                cost = _boxed(np.abs(one - other[y, x]), _BLOCK)
                cost += 1e-3 * np.float32(abs(down) + abs(right))  # where all is alike nothing moves
                better = cost < best
                best[better] = cost[better]
                flow[0][better], flow[1][better] = (start[0] + down)[better], (start[1] + right)[better]
        difference = best
    return flow.astype(np.float32), np.exp(-((difference / _ALIKE) ** 2)).astype(np.float32)


def moved(output: Floats, flow: Floats) -> Floats:
    """An output, (C, h, w), as it would be seen where `flow`, (2, S, S) in pixels of that size, comes from."""
    height, width = output.shape[1:]
    scale = np.array([height / flow.shape[1], width / flow.shape[2]], np.float32)
    down, right = (_enlarged(part, (height, width)) * factor for part, factor in zip(flow, scale, strict=True))
    rows, columns = np.mgrid[:height, :width]
    y = np.rint(rows + down).clip(0, height - 1).astype(np.intp)
    x = np.rint(columns + right).clip(0, width - 1).astype(np.intp)
    return np.ascontiguousarray(output[:, y, x])


def _reduced(grey: Floats, pixels: int) -> Floats:
    size = len(grey) // pixels
    return grey.reshape(size, pixels, size, pixels).mean(axis=(1, 3)) if pixels > 1 else grey


def _boxed(values: Floats, radius: int) -> Floats:
    """Means in squares of 2 × `radius` + 1, whose border repeats."""
    for axis in (0, 1):
        padded = np.pad(values, [(radius + 1, radius) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        sums = padded.cumsum(axis=axis, dtype=np.float64)
        length = values.shape[axis]
        upper, lower = sums.take(range(2 * radius + 1, 2 * radius + 1 + length), axis), sums.take(range(length), axis)
        values = ((upper - lower) / (2 * radius + 1)).astype(np.float32)
    return values


def _enlarged(values: Floats, shape: tuple[int, ...]) -> Floats:
    height, width = shape
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
