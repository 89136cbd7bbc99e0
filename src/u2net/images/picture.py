"""The one form in which pictures are handed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.images.color import to_srgb


@dataclass(frozen=True)
class Picture:
    """One upright picture."""

    rgb: Image.Image
    """Mode RGB: straight colours (not multiplied by alpha) in the space of `icc_profile`."""
    alpha: Image.Image | None
    """Mode L, the size of `rgb`: the transparency of the input. None if it is opaque everywhere."""
    icc_profile: bytes | None
    """The RGB profile that `rgb` is in and that the output must carry. None means sRGB."""
    exif: bytes | None = None
    """The Exif data as it came, trusted by nobody: `u2net.images.exif.kept_exif` makes what may be written of it."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.rgb.size

    def at(self, columns: NDArray[np.intp], rows: NDArray[np.intp]) -> Picture:
        """The picture of these columns and rows alone."""
        alpha = None if self.alpha is None else _pick(self.alpha, columns, rows)
        return replace(self, rgb=_pick(self.rgb, columns, rows), alpha=alpha)

    def crop(self, box: tuple[int, int, int, int]) -> Picture:
        """The picture in a box of left, top, right and bottom that lies within it."""
        return replace(self, rgb=self.rgb.crop(box), alpha=None if self.alpha is None else self.alpha.crop(box))

    def mirrored(self) -> Picture:
        """The picture with left and right exchanged."""
        turn = Image.Transpose.FLIP_LEFT_RIGHT
        alpha = None if self.alpha is None else self.alpha.transpose(turn)
        return replace(self, rgb=self.rgb.transpose(turn), alpha=alpha)

    def view(self) -> Image.Image:
        """What the network sees: mode RGB, in sRGB, transparency composited over white."""
        rgb = self.rgb
        if self.icc_profile is not None:
            rgb = to_srgb(self.icc_profile, "RGB").apply(rgb)
        if self.alpha is not None:
            rgb = Image.composite(rgb, Image.new("RGB", self.size, "white"), self.alpha)
        return rgb


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
