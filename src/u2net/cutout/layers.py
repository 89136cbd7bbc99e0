"""Layers of pictures, in 8 and in 16 bits: one over another, and soft ones, made small and in floats.

A layer of 8 bits is of PIL in mode RGBA, one of 16 is uint16 (H, W, 4); colours are straight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from u2net.images.picture import Levels, to_floats, to_levels

Layer = Image.Image | NDArray[np.uint16]
SomeLayer = TypeVar("SomeLayer", Image.Image, NDArray[np.uint16], Layer)
Floats = NDArray[np.float32]

_ROWS = 256  # that are computed with at once
_LEAST_SIGMA = 4  # pixels of a Gaussian on a reduced picture; smaller ones would lose what the blur keeps
_BOXES = 3  # that make a Gaussian, as Pillow's


def over(front: SomeLayer, behind: Layer) -> SomeLayer:
    """One layer over another of its size and depth; in 16 bits the one in front becomes the result.

    Porter and Duff, Compositing digital images, 1984.
    """
    if isinstance(front, Image.Image) and isinstance(behind, Image.Image):
        return Image.alpha_composite(behind, front)
    above, below = np.asarray(front), np.asarray(behind)
    for top in range(0, len(above), _ROWS):
        rows = above[top : top + _ROWS]
        under = below[top : top + _ROWS]
        alpha = rows[:, :, 3]
        mixed = np.nonzero((alpha > 0) & (alpha < 65_535))
        one, other = to_floats(rows[mixed]), to_floats(under[mixed])
        own, rest = one[:, 3:], other[:, 3:] * (1 - one[:, 3:])
        sums = own + rest
        both = np.concatenate([(one[:, :3] * own + other[:, :3] * rest) / sums, sums], axis=1)
        np.copyto(rows, under, where=alpha[:, :, None] == 0)
        rows[mixed] = to_levels(both, np.uint16)
    return front


def opacity(layer: Layer) -> Levels:
    """Its alpha, (H, W)."""
    return np.asarray(layer.getchannel("A")) if isinstance(layer, Image.Image) else layer[:, :, 3]


def joined(channels: Sequence[Image.Image]) -> Layer:
    """The layer of red, green, blue and alpha, each "L" or "I;16"."""
    if channels[0].mode == "L":
        return Image.merge("RGBA", channels)
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def repeated(column: Levels, width: int) -> Layer:
    """The layer each of whose rows is one pixel of a column, (H, 4)."""
    if column.dtype == np.uint8:
        return Image.fromarray(column[:, None]).resize((width, len(column)), Image.Resampling.NEAREST)
    return np.broadcast_to(column[:, None].view(np.uint16), (len(column), width, 4))


def reduction(sigma: float) -> int:
    """How many pixels, across and down, may be one while they are blurred by a Gaussian of `sigma` pixels."""
    return max(1, int(sigma / _LEAST_SIGMA))


def means(rows: Callable[[slice], Floats], height: int, factor: int) -> Floats:
    """Float32 (h, w, C): the means of squares of `factor` pixels of a picture, of which `rows` gives some (N, W, C).

    Beyond the border its values are repeated.
    """
    made = []
    for top in range(0, height, factor):
        some = rows(slice(top, min(top + factor, height)))
        line = (some.sum(axis=0) + (factor - len(some)) * some[-1]) / np.float32(factor)
        line = np.pad(line, [(0, -len(line) % factor), (0, 0)], mode="edge")
        made.append(line.reshape(-1, factor, line.shape[1]).mean(axis=1))
    return np.stack(made)


def blurred(values: Floats, sigma: float) -> Floats:
    """Values (h, w, C) under a Gaussian, of three boxes; beyond the border its values are repeated.

    Gwosdek et al., Theoretical foundations of Gaussian convolution by extended box filtering, 2011.
    """
    variance = sigma**2 / _BOXES
    radius = int((np.sqrt(12 * variance + 1) - 1) / 2)
    part = (2 * radius + 1) * (radius * (radius + 1) - 3 * variance) / (6 * (variance - (radius + 1) ** 2))
    for _ in range(2):
        for _ in range(_BOXES):
            padded = np.pad(values, [(radius + 1, radius + 1), (0, 0), (0, 0)], mode="edge")
            sums = np.pad(padded, [(1, 0), (0, 0), (0, 0)]).cumsum(axis=0, dtype=np.float64)
            inner = sums[2 * radius + 2 : -1] - sums[1 : -2 * radius - 2]
            ends = padded[: -2 * radius - 2] + padded[2 * radius + 2 :]
            values = ((inner + part * ends) / (2 * (radius + part) + 1)).astype(np.float32)
        values = values.swapaxes(0, 1)
    return values


def enlarged(values: Floats, size: tuple[int, int], factor: int, dtype: DTypeLike) -> Image.Image:
    """Means (h, w) of squares of `factor` pixels at the full size: "L" for uint8, "I;16" for uint16."""
    box = (0, 0, size[0] / factor, size[1] / factor)
    return Image.fromarray(to_levels(values, dtype)).resize(size, Image.Resampling.BICUBIC, box)
