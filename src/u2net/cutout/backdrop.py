"""What a cut-out can be put over: each function makes a backdrop that serves any number of pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from PIL import Image

from u2net.color import from_srgb
from u2net.cutout import Color, on_blur, on_color, on_gradient, on_picture
from u2net.picture import Picture

Backdrop = Callable[[Image.Image, Picture], Image.Image]
"""Puts a cut-out, "RGBA", over something, and gives "RGBA"; it is also told the picture, of the same size.

Those of this module may be pickled, for pictures may be worked on by other processes.
"""

_BLUR = 0.02  # of the picture's longer side


def color_backdrop(color: Color) -> Backdrop:
    """One colour, in the space of the picture."""
    return partial(_color, color)


def gradient_backdrop(top: Color, bottom: Color) -> Backdrop:
    """From one colour at the top to another at the bottom, in the space of the picture."""
    return partial(_gradient, top, bottom)


def blur_backdrop() -> Backdrop:
    """The picture's own background, out of focus: a Gaussian whose sigma is a fiftieth of the longer side."""
    return _blur


def picture_backdrop(behind: Picture) -> Backdrop:
    """Another picture, scaled to cover, its colours brought into the space of the one that is cut out."""
    return partial(_picture, behind.view())


def _color(color: Color, cutout: Image.Image, _picture: Picture) -> Image.Image:
    return on_color(cutout, color)


def _gradient(top: Color, bottom: Color, cutout: Image.Image, _picture: Picture) -> Image.Image:
    return on_gradient(cutout, top, bottom)


def _blur(cutout: Image.Image, picture: Picture) -> Image.Image:
    return on_blur(cutout, picture.rgb, max(1.0, _BLUR * max(cutout.size)))


def _picture(behind: Image.Image, cutout: Image.Image, picture: Picture) -> Image.Image:
    return on_picture(cutout, from_srgb(behind, picture.icc_profile))
