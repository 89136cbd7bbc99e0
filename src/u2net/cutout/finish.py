"""From a picture and the alpha of its subject to what is wanted of both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from u2net.cutout.compose import (
    Backdrop,
    cut_out,
    cut_out_deep,
    cut_to,
    cut_to_deep,
    invert,
    keep_largest,
    keep_largest_deep,
    multiplied,
    subject_box,
    with_shadow,
)
from u2net.cutout.matting.foreground import foreground
from u2net.errors import ImageTooLarge
from u2net.images.deep import DeepPicture, Levels, shallow
from u2net.images.load import LIMITS
from u2net.images.picture import Picture


@dataclass(frozen=True)
class Crop:
    """The part of a picture that holds the subject, as `u2net.cutout.compose.subject_box` finds it."""

    margin: float = 0.0
    aspect: float | None = None


@dataclass(frozen=True)
class Finish:
    """What is made of a picture and the alpha of its subject. The fields are applied in this order."""

    parts: int | None = None
    """Keep only so many of the subject's largest parts."""
    inverted: bool = False
    """Keep what surrounds the subject in its place."""
    crop: Crop | None = None
    """Keep only the part of the picture that holds what is kept."""
    only_mask: bool = False
    """Give the alpha itself."""
    clean: bool = False
    """Take the old background out of colours that are mixed with it."""
    keep_hidden: bool = False
    """Keep colours where nothing shows."""
    shadow: bool = False
    """Lay a soft shadow where the subject stands."""
    backdrop: Backdrop | None = None
    """What the cut-out is put over."""

    def apply(self, picture: Picture, alpha: NDArray[np.uint8], *, in_place: bool = False) -> Image.Image:
        """The result, "RGBA" or with `only_mask` "L", in the picture's colour space.

        `alpha` is uint8 (H, W) of the picture's size. Transparency that the picture has stays: the alpha is multiplied
        by it. `in_place` may make the result of the picture's own pixels, which nobody may use afterwards: it saves 4
        bytes a pixel. Raises ImageTooLarge for a crop that reaches too far beyond the picture.
        """
        kept = Image.fromarray(alpha)
        if self.parts is not None:
            kept = keep_largest(kept, self.parts)
        if self.inverted:
            kept = invert(kept)
        opacity = kept if picture.alpha is None else ImageChops.multiply(kept, picture.alpha)
        if self.crop is not None:
            box = subject_box(opacity, self.crop.margin, self.crop.aspect)
            _check_size((box[2] - box[0], box[3] - box[1]))
            kept, opacity = kept.crop(box), opacity.crop(box)
            picture = replace(picture, rgb=cut_to(picture.rgb, box), alpha=None)
        if self.only_mask:
            return opacity
        rgb = picture.rgb
        if self.clean:
            rgb = Image.fromarray(foreground(np.asarray(rgb), np.asarray(kept)))
        # A backdrop is still to see the picture.
        cutout = cut_out(rgb, opacity, keep_hidden=self.keep_hidden, in_place=in_place and self.backdrop is None)
        if self.shadow:
            cutout = with_shadow(cutout)
        return cutout if self.backdrop is None else self.backdrop(cutout, picture)

    def apply_deep(self, deep: DeepPicture, alpha: Levels) -> Levels:
        """The result in 65,536 levels: straight uint16 (H, W, 4), or with `only_mask` (H, W).

        `alpha` is uint16 (H, W) of the picture's size; all is as in `apply`. Raises ValueError for a shadow and for a
        backdrop, which are composed in 8 bits.
        """
        self.check_deep()
        kept = alpha if self.parts is None else keep_largest_deep(alpha, self.parts)
        if self.inverted:
            kept = ~kept
        opacity = kept if deep.alpha is None else multiplied(kept, deep.alpha)
        rgb = deep.rgb
        if self.crop is not None:
            box = subject_box(Image.fromarray(shallow(opacity)), self.crop.margin, self.crop.aspect)
            _check_size((box[2] - box[0], box[3] - box[1]))
            kept, opacity = (cut_to_deep(part, box, repeated=False) for part in (kept, opacity))
            rgb = cut_to_deep(rgb, box, repeated=True)
        if self.only_mask:
            return opacity
        if self.clean:
            rgb = foreground(rgb, shallow(kept))
        return cut_out_deep(rgb, opacity, keep_hidden=self.keep_hidden)

    def check_deep(self) -> None:
        """Raise ValueError for what there is in 8 bits alone."""
        if self.shadow or self.backdrop is not None:
            raise ValueError("shadows and backgrounds are composed in 8 bits per channel: a cut-out of 16 has none")


def _check_size(size: tuple[int, int]) -> None:
    if max(size) > LIMITS.max_side or size[0] * size[1] > LIMITS.max_pixels:
        raise ImageTooLarge(f"the crop would have {size[0]} × {size[1]} pixels: ask for a smaller margin or aspect")
