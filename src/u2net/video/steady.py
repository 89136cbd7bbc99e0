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
_STILL = 1e-3  # difference of grey by which moving must be better, for each step: where all is alike nothing moves
_ALIKE = 0.08  # difference of grey, 0 to 1, at which a place counts for 1/e
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
    ways: deque[_Ways] = deque()  # from each of the window to the next
    current = 0
    for look in looks:
        if window:
            ways.append(_Ways.between(window[-1].grey, look.grey))
        window.append(look)
        if len(window) - current > AHEAD:
            yield _joined(window, ways, current, strength)
            current += 1
        if current > AHEAD:
            window.popleft()
            ways.popleft()
            current -= 1
    while current < len(window):
        yield _joined(window, ways, current, strength)
        current += 1


@dataclass(frozen=True)
class _Ways:
    """How the picture moves from one frame to the next, and back; None across a cut."""

    onward: tuple[Floats, Floats] | None
    back: tuple[Floats, Floats] | None

    @classmethod
    def between(cls, one: Floats, other: Floats) -> _Ways:
        if np.abs(one - other).mean() > _CUT:
            return cls(None, None)
        return cls(motion(one, other), motion(other, one))


def _joined(window: deque[Look[Item]], ways: deque[_Ways], current: int, strength: float) -> Look[Item]:
    own = window[current]
    total, weights = own.output.copy(), np.ones(own.output.shape[1:], np.float32)
    steps = (
        [(i + 1, ways[i].onward) for i in range(current, min(current + AHEAD, len(ways)))],
        [(i, ways[i].back) for i in range(current - 1, max(current - AHEAD, 0) - 1, -1)],
    )
    for direction in steps:
        flow, alike = np.zeros((2, _SIDE, _SIDE), np.float32), np.ones((_SIDE, _SIDE), np.float32)
        for index, way in direction:
            if way is None:
                break
            further, still_alike = (moved(part, flow) for part in (way[0], way[1][None]))
            flow, alike = flow + further, alike * still_alike[0]
            weight = strength * _enlarged(alike, weights.shape)
            total += weight * moved(window[index].output, flow)
            weights += weight
    return Look(own.item, total / weights, own.grey)


def motion(here: Floats, there: Floats) -> tuple[Floats, Floats]:
    """Where each pixel of one grey picture, (S, S), lies in another, and how alike both places are.

    The first is (2, S, S), how far down and to the right, in pixels; the second (S, S), 0 to 1.
    """
    size = len(here) // _LEVELS[0][0]
    flow = np.zeros((2, size, size), np.intp)
    least = here
    for level, (pixels, reach) in enumerate(_LEVELS):
        one, other = _reduced(here, pixels), _reduced(there, pixels)
        size = len(one)
        if level:
            flow = 2 * flow.repeat(2, 1).repeat(2, 2)
        tried = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1, 1, 1)
        places = (np.mgrid[:size, :size][:, None] + flow[:, None] + tried).clip(0, size - 1)
        costs = _boxed(np.abs(one - other[places[0], places[1]]), _BLOCK)
        costs += np.float32(_STILL) * np.abs(tried).sum(axis=0)
        best = costs.argmin(axis=0)
        least = np.take_along_axis(costs, best[None], axis=0)[0]
        flow = flow + tried[:, best, 0, 0]
    return flow.astype(np.float32), np.exp(-((least / _ALIKE) ** 2))


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
    """Means of maps (N, S, S) in squares of 2 × `radius` + 1, whose border repeats."""
    for axis in (1, 2):
        length = values.shape[axis]
        padded = np.pad(values, [(radius + 1, radius) if a == axis else (0, 0) for a in range(3)], mode="edge")
        sums = padded.cumsum(axis=axis, dtype=np.float32)
        ends = [np.take(sums, range(start, start + length), axis) for start in (2 * radius + 1, 0)]
        values = (ends[0] - ends[1]) / np.float32(2 * radius + 1)
    return values


def _enlarged(values: Floats, shape: tuple[int, ...]) -> Floats:
    height, width = shape
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
