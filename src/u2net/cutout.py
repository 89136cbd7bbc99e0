"""Alpha and picture become a cut-out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BLOCK = 8  # pixels; colours survive this far around what is visible, at least


def cut_out(rgb: Image.Image, alpha: Image.Image, *, keep_hidden: bool = False) -> Image.Image:
    """The RGBA cut-out of an "RGB" picture by an "L" alpha of its size; `rgb` is not changed.

    Colours are stored straight, as they were in the picture. Where nothing shows for several pixels around they
    become black, so that the background is gone from the file; `keep_hidden` keeps them everywhere.
    """
    cutout = rgb if keep_hidden else Image.composite(rgb, Image.new("RGB", rgb.size), _near_visible(alpha))
    cutout = cutout.convert("RGBA")
    cutout.putalpha(alpha)
    return cutout


def on_color(cutout: Image.Image, color: tuple[int, int, int, int]) -> Image.Image:
    """An RGBA cut-out over one RGBA colour, 0 to 255 each; RGBA, opaque where the colour is."""
    return Image.alpha_composite(Image.new("RGBA", cutout.size, color), cutout)


def _near_visible(alpha: Image.Image) -> Image.Image:
    """Mask ("L", 0 or 255) of all blocks of pixels that hold or touch a pixel with any alpha.

    Programs that scale straight colours mix a visible pixel with its invisible neighbours; those must not be black.
    """
    width, height = alpha.size
    padded: NDArray[np.uint8] = np.pad(np.asarray(alpha), ((0, -height % _BLOCK), (0, -width % _BLOCK)))
    rows, columns = padded.shape[0] // _BLOCK, padded.shape[1] // _BLOCK
    visible = padded.reshape(rows, _BLOCK, columns, _BLOCK).any(axis=(1, 3))
    grown = np.zeros((rows, columns), dtype=np.uint8)
    ringed = np.pad(visible, 1)
    for dy in range(3):
        for dx in range(3):
            grown[ringed[dy : dy + rows, dx : dx + columns]] = 255
    blocks = grown.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
    return Image.fromarray(blocks[:height, :width])
