"""The small picture on which outlines and colours are decided, whatever the size of the full one."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.images.picture import Levels, to_8_bits

Kind = TypeVar("Kind", bound=np.generic)

_SIDE = 256  # longer side; larger ones were no better (docs/matting.md)
_SHORTER = 320  # side that a mask has at least, as the network's map has it; more change nothing


def mask_size(size: tuple[int, int]) -> tuple[int, int]:
    """The width and height at which a mask tells as much as at those of its picture, which may be larger."""
    width, height = _small(size)
    times = -(-_SHORTER // min(width, height))
    return size if max(size) <= times * _SIDE else (times * width, times * height)


def reduced(image: Image.Image | Levels, samples: int | None = None) -> NDArray[np.float32]:
    """A picture, "RGB" or (H, W, 3), or a mask, "L" or (H, W), with a longer side of 256 pixels at most.

    Float32 (h, w, 3) or (h, w) in [0, 1]. A pixel is the mean of those that it stands for, or of `samples` × `samples`
    of them: to read all of a large picture takes longer than most of what is done with the small one.
    """
    full = image.size[::-1] if isinstance(image, Image.Image) else image.shape[:2]
    size = _small(full)
    if samples and all(samples * num < length for num, length in zip(size, full, strict=True)):
        small = _image(_taken(image, full, (samples * size[0], samples * size[1]))).reduce(samples)
    else:
        small = _image(image).resize((size[1], size[0]), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def enlarged(mask: NDArray[Kind], area: tuple[slice, slice], full: tuple[int, int]) -> NDArray[Kind]:
    """A small mask, or its levels, over an area of a picture of shape `full`: each pixel takes the nearest."""
    if mask.shape == full:
        return mask[area]
    rows, columns = (nearest(*each) for each in zip(area, full, mask.shape, strict=True))
    wide = mask[rows[0] : rows[-1] + 1].take(columns, axis=1)
    return np.asarray(wide.take(rows - rows[0], axis=0))


def _small(full: tuple[int, int]) -> tuple[int, int]:
    """The two lengths of the small picture for those of the full one."""
    scale = min(1.0, _SIDE / max(full))
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))


def nearest(ends: slice, full: int, num: int) -> NDArray[np.intp]:
    """Of `num` samples, those that lie nearest to some of `full` pixels."""
    return ((np.arange(ends.start, ends.stop) + 0.5) * (num / full)).astype(np.intp)


def _taken(image: Image.Image | Levels, full: tuple[int, int], num: tuple[int, int]) -> Image.Image | Levels:
    """So many of its rows and columns, at even distances."""
    if isinstance(image, Image.Image):
        return image.resize((num[1], num[0]), Image.Resampling.NEAREST)
    rows, columns = (nearest(slice(0, some), some, length) for some, length in zip(num, full, strict=True))
    return image[rows].take(columns, axis=1)


def _image(image: Image.Image | Levels) -> Image.Image:
    """As Pillow has it, in 8 bits."""
    return image if isinstance(image, Image.Image) else Image.fromarray(to_8_bits(image))
