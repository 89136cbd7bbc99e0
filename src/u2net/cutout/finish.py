"""From a picture and the alpha of its subject to what is wanted of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.background import Background, put_over
from u2net.cutout.compose import keep_largest, multiplied, subject_box, with_alpha, with_shadow
from u2net.cutout.matting.foreground import foreground
from u2net.errors import ImageTooLarge
from u2net.images.limits import LIMITS
from u2net.images.picture import Levels, Picture, cropped

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom lie outside."""


@dataclass(frozen=True)
class Crop:
    """The part of a picture that holds the subject, as `u2net.cutout.compose.subject_box` finds it."""

    margin: float = 0.0
    aspect: float | None = None

    def __call__(self, opacity: Levels) -> Box:
        """Left, top, right and bottom, which may reach beyond the picture."""
        return subject_box(opacity, self.margin, self.aspect)


@dataclass(frozen=True)
class Finish:
    """What is made of a picture and the alpha of its subject. The fields are applied in this order."""

    parts: int | None = None
    """Keep only so many of the subject's largest parts."""
    inverted: bool = False
    """Keep what surrounds the subject in its place."""
    crop: Callable[[Levels], Box] | None = None
    """Keep only a part of the picture: a `Crop`, or another function from the opacity, (H, W), to a box."""
    only_mask: bool = False
    """Give the alpha itself."""
    clean: bool = False
    """Take the old background out of colours that are mixed with it."""
    keep_hidden: bool = False
    """Keep colours where nothing shows."""
    shadow: bool = False
    """Lay a soft shadow where the subject stands."""
    background: Background | None = None
    """What the cut-out is put over."""

    def apply(self, picture: Picture, alpha: Levels, *, in_place: bool = False) -> Image.Image | NDArray[np.uint16]:
        """The result, "RGBA" or with `only_mask` "L", in the picture's colour space.

        `alpha` is uint8 (H, W) of the picture's size. If it is uint16 the result is too: straight (H, W, 4), or with
        `only_mask` (H, W). Transparency that the picture has stays: the alpha is multiplied by it. `in_place` may make
        the result of the picture's own pixels, which nobody may use afterwards: it saves 4 bytes a pixel. Raises
        ImageTooLarge for a crop that reaches too far beyond the picture.
        """
        in_16 = alpha.dtype == np.uint16
        picture = picture.in_bits(16 if in_16 else 8)
        kept = alpha if self.parts is None else keep_largest(alpha, self.parts)
        if self.inverted:
            kept = ~kept
        own = picture.alpha_16 if in_16 else picture.alpha
        opacity = kept if own is None else multiplied(kept, own)
        if self.crop is not None:
            box = self.crop(opacity)
            _check_size((box[2] - box[0], box[3] - box[1]), picture.size)
            kept, opacity = cropped(kept, box), cropped(opacity, box)
            picture = replace(picture, alpha=None, alpha_16=None).crop(box)
        if self.only_mask:
            return opacity.view(np.uint16) if in_16 else Image.fromarray(opacity)
        rgb = picture.colors
        in_place = in_place and self.background is None  # which still reads the picture's own pixels
        if self.clean:
            rgb, in_place = foreground(rgb, kept, in_place=in_place), True
        cutout = with_alpha(rgb, opacity, keep_hidden=self.keep_hidden, in_place=in_place)
        if self.shadow:
            cutout = with_shadow(cutout)
        return cutout if self.background is None else put_over(self.background, cutout, picture)


def _check_size(size: tuple[int, int], before: tuple[int, int]) -> None:
    """A crop goes beyond its picture by margin and aspect: up to what any picture may have, or to what this one has."""
    if max(size) > max(LIMITS.max_side, *before) or math.prod(size) > max(LIMITS.max_pixels, math.prod(before)):
        raise ImageTooLarge(f"the crop would have {size[0]} × {size[1]} pixels: ask for a smaller margin or aspect")
