"""The network's maps of a film, each joined with its neighbours' along the motion of the picture.

The network sees each frame for itself, so an outline that it is not sure of flickers. What a neighbouring frame says of
the same place is as good. Where that place lies is found by comparing small grey pictures: blocks around each pixel
are looked for nearby, coarse to fine. What does not look alike there, in grey or in colour, as behind something that
moved away, counts for nothing, and nothing is joined across a cut.

A frame that can be followed from the one before needs no look of its own: its neighbours say nearly as much. So where
little is new the network looks at every second frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.matting.guided import box_mean

Floats = NDArray[np.float32]
Item = TypeVar("Item")

AHEAD = 3
"""Frames that are waited for."""

_SIDE = 160  # pixels of the square small pictures
_LEVELS = ((4, 4), (2, 1), (1, 1))  # of the search: pixels to one of the level, and how many of these it goes each way
_BLOCK = 3  # radius of what is compared, in pixels of the level
_STILL = 1e-3  # difference of grey by which moving must be better, for each step: where all is alike nothing moves
_ALIKE = 0.08  # difference of grey, or of both colours, 0 to 1, at which a place counts for 1/e
_CUT = 0.18  # mean difference of grey from which on a frame belongs to another scene
_STRANGE = 0.3  # likeness, 0 to 1, below which a place is another
_AROUND = 8  # radius of the squares, everywhere in a picture, in which little may be new
_FOLLOWED = 0.7  # share of such places in a square up to which a frame can do without a look of its own
_LEAST = np.float32(1e-6)  # weight of what is not alike at all, for places of which no frame knows more


_Way = tuple[Floats, Floats]
"""How the picture moves from one frame to another, and how alike it is: what `motion` returns."""


@dataclass
class Seen(Generic[Item]):
    """A frame, and what `looked_at` finds out about it."""

    item: Item
    """What the caller knows of the frame."""
    small: Floats
    """Its `small_picture`."""
    output: Callable[[], Floats] | None = None
    """Waits for the network's, (C, h, w); None where it did not look."""
    back: _Way | None = None
    """To the frame before; None if there is none, or across a cut."""
    onward: _Way | None = None
    """To the next, known when that is."""


def small_picture(image: Image.Image) -> Floats:
    """A picture as motion is looked for in it: Y, Cb and Cr, (3, S, S) in [0, 1]."""
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX).convert("YCbCr")
    return np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255)


def looked_at(frames: Iterable[Seen[Item]], look: Callable[[Item], Callable[[], Floats]]) -> Iterator[Seen[Item]]:
    """The frames, in their order, with their motion, and looks at them begun: `look` gives what waits for the output.

    There is none at a frame that can be followed from one that was looked at.
    """
    before = None
    for frame in frames:
        if before is not None:
            before.onward, frame.back = _ways(before.small, frame.small)
        if before is None or before.output is None or max(_news(before.onward), _news(frame.back)) > _FOLLOWED:
            frame.output = look(frame.item)
        before = frame
        yield frame


def steadied(frames: Iterable[Seen[Item]], strength: float) -> Iterator[tuple[Item, Floats]]:
    """Each frame, in their order, with the mean of the network's outputs along the motion of up to 7 frames, (C, h, w).

    `strength`, 0 to 1, is the weight of each neighbour beside the frame's own 1.
    """
    window: deque[Seen[Item]] = deque()
    current = 0
    for frame in frames:
        window.append(frame)
        if len(window) - current > AHEAD:
            yield _joined(window, current, strength)
            current += 1
        if current > AHEAD:
            window.popleft()
            current -= 1
    while current < len(window):
        yield _joined(window, current, strength)
        current += 1


def _ways(one: Floats, other: Floats) -> tuple[_Way | None, _Way | None]:
    """From one small picture to the next, and back."""
    if np.abs(one[0] - other[0]).mean() > _CUT:
        return None, None
    return motion(one, other), motion(other, one)


def _news(way: _Way | None) -> float:
    """The share of places, in the square of a picture that has most of them, that are another in the other frame."""
    if way is None:
        return 1.0
    return float(box_mean((way[1] < _STRANGE).astype(np.float32), _AROUND).max())


def _joined(window: deque[Seen[Item]], current: int, strength: float) -> tuple[Item, Floats]:
    own = window[current]
    # Each neighbour's way leads to the one beyond it.
    onward = [(window[i].onward, window[i + 1]) for i in range(current, min(current + AHEAD, len(window) - 1))]
    back = [(window[i].back, window[i - 1]) for i in range(current, max(current - AHEAD, 0), -1)]
    parts: list[tuple[Floats, Floats]] = []  # outputs, and their weights
    if own.output is not None:
        output = own.output()
        parts.append((output, np.ones(output.shape[1:], np.float32)))
    for steps in (onward, back):
        flow, alike = np.zeros((2, _SIDE, _SIDE), np.float32), np.ones((_SIDE, _SIDE), np.float32)
        for way, other in steps:
            if way is None:
                break
            *further, still_alike = moved(np.stack([*way[0], way[1]]), flow)
            flow, alike = flow + further, alike * still_alike
            if other.output is not None:
                output = other.output()
                weight = np.float32(strength) * _enlarged(alike, output.shape[1:]) + _LEAST
                parts.append((moved(output, flow), weight))
    total = np.sum([weight * output for output, weight in parts], axis=0)
    return own.item, total / np.sum([weight for _, weight in parts], axis=0)


def motion(here: Floats, there: Floats) -> tuple[Floats, Floats]:
    """Where each pixel of a small picture, (3, S, S), lies in another, and how alike both places are.

    The first is (2, S, S), how far down and to the right, in pixels; the second (S, S), 0 to 1.
    """
    size = len(here[0]) // _LEVELS[0][0]
    flow = np.zeros((2, size, size), np.intp)
    least = here[0]
    for level, (pixels, reach) in enumerate(_LEVELS):
        one, other = _reduced(here[0], pixels), _reduced(there[0], pixels)
        size = len(one)
        if level:
            flow = 2 * flow.repeat(2, 1).repeat(2, 2)
        tried = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
        wide = np.pad(other, reach, mode="edge")
        rows, columns = (np.mgrid[:size, :size] + flow).clip(0, size - 1) + reach
        places = rows * len(wide) + columns
        costs = np.stack([wide.take(places + (down * len(wide) + right)) for down, right in tried.T])
        costs -= one
        costs = box_mean(np.abs(costs, out=costs), _BLOCK)
        costs += np.float32(_STILL) * np.abs(tried).sum(axis=0, dtype=np.float32)[:, None, None]
        best = costs.argmin(axis=0)
        least = np.take_along_axis(costs, best[None], axis=0)[0]
        flow = flow + tried[:, best]
    way = flow.astype(np.float32)
    colors = np.abs(moved(there[1:], way) - here[1:]).sum(axis=0)
    least = np.maximum(least, box_mean(colors, _BLOCK))
    return way, np.exp(-((least / _ALIKE) ** 2))


def moved(output: Floats, flow: Floats) -> Floats:
    """An output, (C, h, w), as it would be seen where `flow`, (2, S, S) in pixels of that size, comes from."""
    height, width = output.shape[1:]
    scale = np.array([height / flow.shape[1], width / flow.shape[2]], np.float32)
    down, right = (_enlarged(part, (height, width)) * factor for part, factor in zip(flow, scale, strict=True))
    down += np.arange(height, dtype=np.float32)[:, None]
    right += np.arange(width, dtype=np.float32)
    places = np.rint(down).clip(0, height - 1) * width + np.rint(right).clip(0, width - 1)
    return np.asarray(output.reshape(len(output), -1).take(places.astype(np.intp), axis=1))


def _reduced(grey: Floats, pixels: int) -> Floats:
    size = len(grey) // pixels
    return grey.reshape(size, pixels, size, pixels).mean(axis=(1, 3)) if pixels > 1 else grey


def _enlarged(values: Floats, shape: tuple[int, ...]) -> Floats:
    height, width = shape
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))
