"""Alpha and picture become a cut-out, over nothing or over a backdrop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps

from u2net.images.color import from_srgb
from u2net.images.deep import Levels, shallow
from u2net.images.morphology import Mask, Parts
from u2net.images.picture import Picture

Color = tuple[int, int, int, int]
"""Red, green, blue and opacity, 0 to 255 each."""

_SEEN = 13  # of 255; fainter alpha neither joins parts nor widens a crop
_LEAST_SIGMA = 4  # pixels of a Gaussian on a reduced picture
_BLOCK = 8  # pixels, and bytes of a uint64; colours survive this far around what is visible, at least


def cut_out(rgb: Image.Image, alpha: Image.Image, *, keep_hidden: bool = False, in_place: bool = False) -> Image.Image:
    """The RGBA cut-out of an "RGB" picture by an "L" alpha of its size; `in_place` makes it of `rgb` itself.

    Colours are stored straight, as they were in the picture. Where nothing shows for several pixels around they
    become black, so that the background is gone from the file; `keep_hidden` keeps them everywhere.
    """
    cutout = rgb if in_place else rgb.copy()
    cutout.putalpha(alpha)
    if not keep_hidden:
        cutout.paste((0, 0, 0, 0), mask=_far_from_visible(np.asarray(alpha)))
    return cutout


def cut_out_deep(rgb: Levels, alpha: Levels, *, keep_hidden: bool = False) -> Levels:
    """What `cut_out` makes, in 65,536 levels: uint16 (H, W, 4), straight, of uint16 (H, W, 3) by an alpha, (H, W)."""
    cutout = np.empty((*alpha.shape, 4), dtype=np.uint16)
    cutout[:, :, :3], cutout[:, :, 3] = rgb, alpha
    if not keep_hidden:
        far = _far_from_visible((alpha > 0).view(np.uint8))
        np.copyto(cutout, 0, where=np.asarray(far)[:, :, None])  # an index by a mask would take more than the picture
    return cutout


def on_color(cutout: Image.Image, color: Color) -> Image.Image:
    """An RGBA cut-out over one colour; RGBA, opaque where the colour is."""
    return Image.alpha_composite(Image.new("RGBA", cutout.size, color), cutout)


def on_gradient(cutout: Image.Image, top: Color, bottom: Color) -> Image.Image:
    """An RGBA cut-out over colours that go from one at the top to another at the bottom; RGBA."""
    weight = Image.linear_gradient("L").resize(cutout.size, Image.Resampling.BILINEAR)
    lower, upper = (Image.new("RGBA", cutout.size, color) for color in (bottom, top))
    return Image.alpha_composite(Image.composite(lower, upper, weight), cutout)


def on_picture(cutout: Image.Image, picture: Image.Image) -> Image.Image:
    """An RGBA cut-out over the middle of another picture, scaled so that it just covers; RGBA."""
    behind = ImageOps.fit(picture.convert("RGBA"), cutout.size, Image.Resampling.LANCZOS)
    return Image.alpha_composite(behind, cutout)


def on_blur(cutout: Image.Image, rgb: Image.Image, radius: float) -> Image.Image:
    """An RGBA cut-out over its own blurred background; RGBA.

    `rgb` is the picture that it was cut from, "RGB" of the same size; `radius`, in pixels, is the Gaussian's sigma.
    The subject is left out of what is blurred, so that its colours make no glow around it. A large radius is blurred
    on a smaller picture, in which nothing is lost that the blur would keep.
    """
    factor = max(1, int(radius / _LEAST_SIGMA))
    weight = ImageChops.invert(cutout.getchannel("A"))
    behind = Image.composite(rgb, Image.new("RGB", rgb.size), weight).reduce(factor)
    weight = weight.reduce(factor)
    blur = ImageFilter.GaussianBlur(radius / factor)
    spread = np.asarray(weight.filter(blur), dtype=np.float32)[:, :, None]
    pixels = np.asarray(behind.filter(blur), dtype=np.float32) * (255 / np.maximum(spread, 1))
    filled = Image.fromarray((pixels + np.float32(0.5)).clip(0, 255).astype(np.uint8))
    box = (0, 0, rgb.width / factor, rgb.height / factor)
    filled = filled.resize(rgb.size, Image.Resampling.BICUBIC, box=box)
    return Image.alpha_composite(filled.convert("RGBA"), cutout)


def with_shadow(cutout: Image.Image, opacity: float = 0.5, softness: float = 0.03) -> Image.Image:
    """An RGBA cut-out with a soft shadow where it stands; RGBA of the same size.

    The subject's outline, laid flat on its lowest edge. `opacity` is 0 to 1, `softness` the blur's sigma as a part of
    the subject's longer side. What would fall outside of the picture is cut: `crop_to_subject` with a margin first
    leaves room.
    """
    alpha = cutout.getchannel("A")
    box = _seen_box(alpha)
    if box is None:
        return cutout.copy()
    left, top, right, bottom = box
    sigma = softness * max(right - left, bottom - top)
    height = max(1, round(0.12 * (bottom - top)))
    flat = alpha.crop(box).resize((right - left, height), Image.Resampling.BOX)
    shadow = Image.new("L", cutout.size)
    shadow.paste(flat, (left, bottom - height // 2))
    shadow = shadow.filter(ImageFilter.GaussianBlur(sigma)).point([round(v * opacity) for v in range(256)])
    black = Image.new("RGBA", cutout.size, (0, 0, 0, 0))
    black.putalpha(shadow)
    return Image.alpha_composite(black, cutout)


def crop_to_subject(cutout: Image.Image, margin: float = 0.0, aspect: float | None = None) -> Image.Image:
    """The part of an RGBA cut-out that holds the subject, as `subject_box` finds it; beyond the picture transparent."""
    return cutout.crop(subject_box(cutout.getchannel("A"), margin, aspect))


def subject_box(alpha: Image.Image, margin: float = 0.0, aspect: float | None = None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what shows of an "L" alpha; it may reach beyond the picture.

    `margin` is left free on each side, as a part of the subject's longer side. `aspect`, width over height, is reached
    by adding to the shorter of both. An alpha of nothing has the whole picture's box.
    """
    box = _seen_box(alpha)
    if box is None:
        return 0, 0, *alpha.size
    left, top, right, bottom = box
    free = 2 * round(margin * max(right - left, bottom - top))
    width, height = right - left + free, bottom - top + free
    if aspect is not None:
        width, height = max(width, round(height * aspect)), max(height, round(width / aspect))
    left, top = (left + right - width) // 2, (top + bottom - height) // 2
    return left, top, left + width, top + height


def cut_to(rgb: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """The part of a picture in a box; beyond the picture, its border's colours are repeated."""
    width, height = rgb.size
    rows, columns = np.arange(box[1], box[3]).clip(0, height - 1), np.arange(box[0], box[2]).clip(0, width - 1)
    if box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height:
        return rgb.crop(box)
    return Image.fromarray(np.asarray(rgb)[np.ix_(rows, columns)])


def cut_to_deep(values: Levels, box: tuple[int, int, int, int], *, repeated: bool) -> Levels:
    """The part of uint16 (H, W) or (H, W, C) in a box; beyond the picture its border `repeated`, or nothing."""
    left, top, right, bottom = box
    height, width = values.shape[:2]
    beyond = [(max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0)]
    inside = values[max(top, 0) : bottom, max(left, 0) : right]
    return np.pad(inside, beyond[: values.ndim], mode="edge" if repeated else "constant")


def keep_largest(alpha: Image.Image, num: int) -> Image.Image:
    """An "L" alpha with all but its `num` largest parts removed.

    Parts are what hangs together, by sides of pixels, where alpha is above one twentieth; what is fainter stays only
    next to a part that stays.
    """
    values = np.asarray(alpha)
    return Image.fromarray(values * _largest(values >= _SEEN, values > 0, num))


def keep_largest_deep(alpha: Levels, num: int) -> Levels:
    """An alpha, uint16 (H, W), with all but its `num` largest parts removed, as `keep_largest` finds them."""
    return alpha * _largest(shallow(alpha) >= _SEEN, alpha > 0, num)


def _largest(seen: Mask, any_: Mask, num: int) -> Mask:
    """The `num` largest parts of what is seen, and what fainter hangs together with them."""
    if num < 1:
        raise ValueError(f"the number of parts to keep is 1 or more, got {num}")
    parts = Parts.of(seen)
    chosen = np.zeros(len(parts.areas), dtype=np.bool_)
    chosen[np.argsort(-parts.areas, kind="stable")[:num]] = True
    kept = parts.where(chosen)
    fringe = Parts.of(any_ & ~parts.where(~chosen))
    return fringe.where(fringe.touching(kept))


def invert(alpha: Image.Image) -> Image.Image:
    """The alpha ("L") of all that the given one leaves out."""
    return ImageChops.invert(alpha)


def multiplied(alpha: Levels, other: Levels) -> Levels:
    """The product of two alphas, uint16 of the same shape, of which 65,535 is 1."""
    return ((alpha.astype(np.uint32) * other + 32_767) // 65_535).astype(np.uint16)


def _seen_box(alpha: Image.Image) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what shows; None if nothing does."""
    return alpha.point([255 if value >= _SEEN else 0 for value in range(256)]).getbbox()


def _far_from_visible(alpha: NDArray[np.uint8]) -> Image.Image:
    """Mask ("1") of all pixels but the blocks that hold or touch a pixel with any alpha.

    Programs that scale straight colours mix a visible pixel with its invisible neighbours; those must not be black.
    """
    height, width = alpha.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.zeros((rows * _BLOCK, columns * _BLOCK), dtype=np.uint8)
    padded[:height, :width] = alpha
    # The 8 bytes of a block's row are read as one number: any is not 0 if and only if that is not.
    visible = padded.view(np.uint64).reshape(rows, _BLOCK, columns).any(axis=1)
    far: NDArray[np.bool] = np.ones((rows, columns), dtype=np.bool)
    ringed = np.pad(visible, 1)
    for dy in range(3):
        for dx in range(3):
            far &= ~ringed[dy : dy + rows, dx : dx + columns]
    box = (0, 0, width / _BLOCK, height / _BLOCK)
    return Image.fromarray(far).resize((width, height), Image.Resampling.NEAREST, box)


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
