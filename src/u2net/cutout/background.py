"""What a cut-out can be put over: one or two colours, a style by its name, or another picture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageFilter, ImageOps

from u2net.errors import InvalidImage
from u2net.images.color import from_srgb
from u2net.images.load import load_image
from u2net.images.picture import Picture

Color = tuple[int, int, int, int]
"""Red, green, blue and opacity, 0 to 255 each."""

Background: TypeAlias = tuple[Color, ...] | str | Picture
"""One colour, or two of a gradient from top to bottom; a name in `STYLES`; or a picture, scaled to cover."""

_SIGMA = 0.02  # of a blurred background, as a part of the picture's longer side
_LEAST_SIGMA = 4  # pixels of a Gaussian on a reduced picture
_TO = ".."  # between the colours of a gradient


def blur(cutout: Image.Image, picture: Picture, sigma: float | None = None) -> Image.Image:
    """The picture's own background, out of focus: "RGBA". `sigma` of the Gaussian is in pixels.

    The subject is left out of what is blurred, so that its colours make no glow around it. A large blur is made on a
    smaller picture, in which nothing is lost that the blur would keep.
    """
    rgb = picture.rgb
    sigma = sigma or max(1.0, _SIGMA * max(cutout.size))
    factor = max(1, int(sigma / _LEAST_SIGMA))
    weight = ImageChops.invert(cutout.getchannel("A"))
    behind = Image.composite(rgb, Image.new("RGB", rgb.size), weight).reduce(factor)
    weight = weight.reduce(factor)
    gaussian = ImageFilter.GaussianBlur(sigma / factor)
    spread = np.asarray(weight.filter(gaussian), dtype=np.float32)[:, :, None]
    pixels = np.asarray(behind.filter(gaussian), dtype=np.float32) * (255 / np.maximum(spread, 1))
    filled = Image.fromarray((pixels + np.float32(0.5)).clip(0, 255).astype(np.uint8))
    box = (0, 0, rgb.width / factor, rgb.height / factor)
    return filled.resize(rgb.size, Image.Resampling.BICUBIC, box=box).convert("RGBA")


STYLES: dict[str, Callable[[Image.Image, Picture], Image.Image]] = {"blur": blur}
"""By name: each makes an "RGBA" background of a cut-out and of the picture, of the same size, that it was cut from."""


def read_background(text: str) -> Background:
    """The background that a text names: white, #rrggbb, white..navy, a style, or a picture's file.

    Raises ValueError for what is none of these, and OSError for a file that cannot be read.
    """
    if text in STYLES:
        return text
    colors = [_color(name) for name in text.split(_TO, 1)]
    if all(colors):
        return tuple(color for color in colors if color)
    if not os.path.isfile(text):  # unlike Path.is_file, it accepts names that are too long
        raise ValueError(
            f"{text!r} is no background: give a colour (a name, #rrggbb, #rrggbbaa, rgb(…)), two with {_TO} between "
            f"them, {', '.join(STYLES)}, or a picture's file"
        )
    try:
        # In sRGB once, however many cut-outs are put over it.
        return Picture(load_image(text).view("white"), None, None)
    except InvalidImage as error:
        raise ValueError(f"{text}: {error}") from None


def is_opaque(background: Background) -> bool:
    """Whether nothing shines through."""
    return not isinstance(background, tuple) or all(opacity == 255 for *_, opacity in background)


def digest(background: Background | None) -> str | None:
    """The SHA-256 of another picture's pixels; None for all else, which is told by what was asked for."""
    if not isinstance(background, Picture):
        return None
    return hashlib.sha256(repr(background.size).encode() + background.view("white").tobytes()).hexdigest()


def put_over(background: Background, cutout: Image.Image, picture: Picture) -> Image.Image:
    """An "RGBA" cut-out over a background, "RGBA"; `picture` is what it was cut from, of the same size.

    Colours are in the space of the picture; those of another picture are brought into it.
    """
    size = cutout.size
    if isinstance(background, str):
        behind = STYLES[background](cutout, picture)
    elif isinstance(background, Picture):
        other = from_srgb(background.view("white"), picture.icc_profile)
        behind = ImageOps.fit(other.convert("RGBA"), size, Image.Resampling.LANCZOS)
    elif len(background) == 1:
        behind = Image.new("RGBA", size, background[0])
    else:
        top, bottom = (Image.new("RGBA", size, color) for color in background)
        behind = Image.composite(bottom, top, Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR))
    return Image.alpha_composite(behind, cutout)


def _color(name: str) -> Color | None:
    try:
        red, green, blue, *opacity = ImageColor.getrgb(name)
    except ValueError:
        return None
    return red, green, blue, opacity[0] if opacity else 255
