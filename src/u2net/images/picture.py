"""The one form in which pictures are handed on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from u2net.images.color import is_srgb, to_srgb

BitDepth = Literal[8, 16]
"""Bits per channel."""
Levels = NDArray[np.uint8 | np.uint16]
"""Channels in 256 or 65,536 levels."""
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""
Pixels = TypeVar("Pixels", Image.Image, NDArray[np.uint8], NDArray[np.uint16], Levels)

_CLOSE = 64  # levels: a grey logo a quarter as far from black as from white is half lost over black
_ROWS = 256  # that are computed with at once: what they are made of is small beside the picture


@dataclass(frozen=True)
class Picture:
    """One upright picture, in 8 bits per channel and, where that was asked for, in 16 as well."""

    rgb: Image.Image
    """Mode RGB: straight colours (not multiplied by alpha) in the space of `icc_profile`. The network sees these."""
    alpha: Image.Image | None
    """Mode L, the size of `rgb`: the transparency of the input. None if it is opaque everywhere."""
    icc_profile: bytes | None
    """The RGB profile that `rgb` is in and that the output must carry. None means sRGB; in 16 bits a file's own profile
    is kept even if it is sRGB's, as colours differ from it by less than 8 bits show."""
    exif: bytes | None = None
    """The Exif data as it came, not checked: `u2net.images.exif.kept_exif` makes what may be written of it."""
    rgb_16: NDArray[np.uint16] | None = None
    """(H, W, 3): the colours of `rgb` in 16 bits."""
    alpha_16: NDArray[np.uint16] | None = None
    """(H, W): `alpha` in 16 bits."""
    dpi: tuple[float, float] | None = None
    """Pixels per inch in print, across and down, where the file states them."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.rgb.size

    @property
    def colors(self) -> Image.Image | NDArray[np.uint16]:
        """The colours as finely as they are there: `rgb_16`, or else `rgb`."""
        return self.rgb if self.rgb_16 is None else self.rgb_16

    def in_bits(self, depth: BitDepth) -> Picture:
        """The picture with or without 16 bits per channel. They are made of 8 where it has none, 257 for each level."""
        if depth == 8:
            return replace(self, rgb_16=None, alpha_16=None)
        if self.rgb_16 is not None:
            return self
        alpha = None if self.alpha is None else to_16_bits(np.asarray(self.alpha))
        return replace(self, rgb_16=to_16_bits(np.asarray(self.rgb)), alpha_16=alpha)

    def at(self, columns: NDArray[np.intp], rows: NDArray[np.intp]) -> Picture:
        """The picture of these columns and rows alone, in 8 bits."""
        return self._each(lambda image: _pick(image, columns, rows))

    def crop(self, box: Box) -> Picture:
        """The part in a box; beyond the picture its border's colours are repeated, and nothing shows."""
        return replace(
            self,
            rgb=cropped(self.rgb, box, repeated=True),
            alpha=None if self.alpha is None else self.alpha.crop(box),
            rgb_16=None if self.rgb_16 is None else cropped(self.rgb_16, box, repeated=True),
            alpha_16=None if self.alpha_16 is None else cropped(self.alpha_16, box),
        )

    def view(self, ground: str | None = None) -> Image.Image:
        """What the network sees: mode RGB, in sRGB, what is transparent over a ground that what shows stands out from.

        The ground is white, or grey or black where much of what shows is nearly white: a white logo is seen too. A
        colour's name makes it that.
        """
        rgb = self.rgb
        if self.icc_profile is not None:
            transform = to_srgb(self.icc_profile, "RGB")
            rgb = rgb if is_srgb(transform) else transform.apply(rgb)
        if self.alpha is not None:
            rgb = Image.composite(rgb, Image.new("RGB", self.size, ground or _contrasting(rgb, self.alpha)), self.alpha)
        return rgb

    def _each(self, change: Callable[[Image.Image], Image.Image]) -> Picture:
        alpha = None if self.alpha is None else change(self.alpha)
        return Picture(change(self.rgb), alpha, self.icc_profile, self.exif, dpi=self.dpi)


def _contrasting(rgb: Image.Image, alpha: Image.Image) -> tuple[int, int, int]:
    """White if at most a twentieth of what shows is close to it, else that of white, grey and black with the least."""
    small = min(rgb.width, 256), min(rgb.height, 256)
    colors = np.asarray(rgb.resize(small, Image.Resampling.NEAREST), np.int16)
    shows = np.asarray(alpha.resize(small, Image.Resampling.NEAREST), np.float32)

    def close(level: int) -> float:
        return float(shows[np.abs(colors - level).max(axis=2) < _CLOSE].sum() / max(1.0, shows.sum()))

    level = 255 if close(255) <= 0.05 else min((255, 128, 0), key=close)
    return level, level, level


def cropped(image: Pixels, box: Box, *, repeated: bool = False) -> Pixels:
    """The part of an image, or of an array (H, W) or (H, W, C), in a box; beyond it its border `repeated`, or zeros."""
    left, top, right, bottom = box
    if isinstance(image, Image.Image):
        if not repeated or (left >= 0 and top >= 0 and right <= image.width and bottom <= image.height):
            return image.crop(box)
        return Image.fromarray(cropped(np.asarray(image), box, repeated=True))
    height, width = image.shape[:2]
    beyond = [(max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0)]
    inside = image[max(top, 0) : bottom, max(left, 0) : right]
    return np.pad(inside, beyond[: image.ndim], mode="edge" if repeated else "constant")


def to_8_bits(levels: Levels) -> NDArray[np.uint8]:
    """The nearest of 256 levels for each of 65,536, in an array of any shape; uint8 stays as it is."""
    if levels.dtype == np.uint8:
        return levels.view(np.uint8)
    nearest = np.empty(levels.shape, dtype=np.uint8)
    for top in range(0, len(levels), _ROWS):
        nearest[top : top + _ROWS] = (levels[top : top + _ROWS].astype(np.uint32) + 128) // 257
    return nearest


def to_16_bits(levels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Of 65,536 levels those that 256 stand for: 0 stays 0, and 255 becomes 65,535."""
    return levels * np.uint16(257)


def to_floats(levels: Levels) -> NDArray[np.float32]:
    """Values in [0, 1] of levels, in an array of any shape."""
    return np.asarray(levels * np.float32(1 / np.iinfo(levels.dtype).max))


def to_levels(values: NDArray[np.float32], dtype: DTypeLike) -> Levels:
    """The nearest levels, uint8 or uint16, of values in [0, 1], in an array of any shape."""
    peak = np.float32(np.iinfo(np.dtype(dtype)).max)
    return np.asarray((values.clip(0, 1) * peak + np.float32(0.5)).astype(dtype))


def _pick(image: Image.Image, columns: NDArray[np.intp], rows: NDArray[np.intp]) -> Image.Image:
    width, height = image.size
    if height < 4 * len(rows):
        return Image.fromarray(np.asarray(image).take(rows, axis=0).take(columns, axis=1))
    # An array of a whole large picture takes longer than all else that is done to its samples. Rows are taken two by
    # two, for they come as neighbours.
    picked = []
    for pair in np.split(rows, range(2, len(rows), 2)):
        band = image.crop((0, int(pair[0]), width, int(pair[-1]) + 1))
        picked.append(np.asarray(band)[pair - pair[0]].take(columns, axis=1))
    return Image.fromarray(np.concatenate(picked))
