"""What a cut-out can be put over: one or two colours, a style by its name, or another picture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageOps

from u2net.cutout.layers import (
    Layer,
    SomeLayer,
    blurred,
    enlarged,
    joined,
    means,
    opacity,
    over,
    reduction,
    repeated,
)
from u2net.errors import InvalidImage
from u2net.images.color import from_srgb
from u2net.images.load import load_image
from u2net.images.picture import Picture, to_16_bits, to_floats, to_levels

Color = tuple[int, int, int, int]
"""Red, green, blue and opacity, 0 to 255 each."""

Background: TypeAlias = tuple[Color, ...] | str | Picture
"""One colour, or two of a gradient from top to bottom; a name in `STYLES`; or a picture, scaled to cover."""

_SIGMA = 0.02  # of a blurred background, as a part of the picture's longer side
_LEAST_WEIGHT = np.float32(1 / 255)  # of a background that is seen
_TO = ".."  # between the colours of a gradient


def blur(cutout: Layer, picture: Picture, sigma: float | None = None) -> Layer:
    """The picture's own background, out of focus. `sigma` of the Gaussian is in pixels.

    The subject is left out of what is blurred, so that its colours make no glow around it. A large blur is made on a
    smaller picture, in which nothing is lost that the blur would keep.
    """
    colors, alpha = np.asarray(picture.colors), opacity(cutout)
    sigma = sigma or max(1.0, _SIGMA * max(picture.size))
    factor = reduction(sigma)

    def weighted(rows: slice) -> NDArray[np.float32]:
        weight = 1 - to_floats(alpha[rows])[:, :, None]
        return np.concatenate([to_floats(colors[rows]) * weight, weight], axis=2)

    *sums, weights = blurred(means(weighted, len(alpha), factor), sigma / factor).transpose(2, 0, 1)
    behind = [channel / np.maximum(weights, _LEAST_WEIGHT) for channel in sums] + [np.ones_like(weights)]
    return joined([enlarged(channel, picture.size, factor, alpha.dtype) for channel in behind])


STYLES: dict[str, Callable[[Layer, Picture], Layer]] = {"blur": blur}
"""By name: each makes a background, a layer, of a cut-out and of the picture, of its size, that it was cut from."""


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


def put_over(background: Background, cutout: SomeLayer, picture: Picture) -> SomeLayer:
    """A cut-out over a background; `picture` is what it was cut from, of the same size.

    Colours are in the space of the picture; those of another picture, which count with 8 bits, are brought into it.
    """
    in_16 = isinstance(cutout, np.ndarray)
    width, height = cutout.shape[1::-1] if isinstance(cutout, np.ndarray) else cutout.size
    behind: Layer
    if isinstance(background, str):
        behind = STYLES[background](cutout, picture)
    elif isinstance(background, Picture):
        other = from_srgb(background.view("white"), picture.icc_profile)
        fitted = ImageOps.fit(other.convert("RGBA"), (width, height), Image.Resampling.LANCZOS)
        behind = to_16_bits(np.asarray(fitted)) if in_16 else fitted
    else:
        top, bottom = (to_floats(np.array(color, dtype=np.uint8)) for color in (background[0], background[-1]))
        down = np.linspace(0.5 / height, 1 - 0.5 / height, height, dtype=np.float32)[:, None]
        behind = repeated(to_levels(top + (bottom - top) * down, np.uint16 if in_16 else np.uint8), width)
    return over(cutout, behind)


def _color(name: str) -> Color | None:
    try:
        red, green, blue, *opacity = ImageColor.getrgb(name)
    except ValueError:
        return None
    return red, green, blue, opacity[0] if opacity else 255
