"""Alpha and picture become a cut-out: parts, crop, colours and shadow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from u2net.cutout.layers import Layer, SomeLayer, blurred, enlarged, joined, means, opacity, over, reduction
from u2net.images.morphology import Parts
from u2net.images.picture import Box, Levels, to_8_bits, to_floats

_SEEN = 13  # of 255; fainter alpha neither joins parts nor widens a crop
_BLOCK = 8  # pixels, and bytes of a uint64; colours survive this far around what is visible, at least


def with_alpha(rgb: Image.Image | Levels, alpha: Levels, *, keep_hidden: bool = False, in_place: bool = False) -> Layer:
    """The cut-out of a picture by an alpha of its size, as a layer.

    `rgb` is "RGB" and `alpha` uint8 (H, W), or both are uint16; `in_place` makes an "RGB" picture itself the cut-out.

    Colours are stored straight, as they were in the picture. Where nothing shows for several pixels around they
    become black, so that the background is gone from the file; `keep_hidden` keeps them everywhere.
    """
    far = None if keep_hidden else _far_from_visible(alpha)
    if isinstance(rgb, Image.Image):
        cutout = rgb if in_place else rgb.copy()
        cutout.putalpha(Image.fromarray(alpha))
        if far is not None:
            cutout.paste((0, 0, 0, 0), mask=far)
        return cutout
    channels = np.empty((*alpha.shape, 4), dtype=np.uint16)
    channels[:, :, :3], channels[:, :, 3] = rgb, alpha
    if far is not None:
        np.copyto(channels, 0, where=np.asarray(far)[:, :, None])  # an index by a mask takes more memory than these
    return channels


def with_shadow(cutout: SomeLayer, strength: float = 0.5, softness: float = 0.03) -> SomeLayer:
    """A cut-out with a soft shadow where it stands, of the same size.

    The subject's outline, laid flat on its lowest edge. `strength` is 0 to 1, `softness` the blur's sigma as a part of
    the subject's longer side. What would fall outside of the picture is cut: a crop with a margin first leaves room.
    """
    alpha = opacity(cutout)
    box = _seen_box(alpha)
    if box is None:
        return cutout.copy()
    left, top, right, bottom = box
    size = alpha.shape[1], alpha.shape[0]
    flat = Image.fromarray(alpha[top:bottom, left:right])
    flat = flat.resize((right - left, max(1, round(0.12 * (bottom - top)))), Image.Resampling.BOX)
    ground = Image.new(flat.mode, size)
    ground.paste(flat, (left, bottom - flat.height // 2))
    sigma = softness * max(right - left, bottom - top)
    factor = reduction(sigma)
    pixels = np.asarray(ground)[:, :, None]
    shade = blurred(means(lambda rows: to_floats(pixels[rows]), len(pixels), factor), sigma / factor)[:, :, 0]
    black = Image.new(flat.mode, size)
    shadow = enlarged(shade * np.float32(strength), size, factor, alpha.dtype)
    return over(cutout, joined([black, black, black, shadow]))


def subject_box(alpha: Levels, margin: float = 0.0, aspect: float | None = None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what shows of an alpha, (H, W); it may reach beyond the picture.

    `margin` is left free on each side, as a part of the subject's longer side. `aspect`, width over height, is reached
    by adding to the shorter of both. An alpha of nothing has the whole picture's box.
    """
    box = _seen_box(alpha)
    if box is None:
        return 0, 0, alpha.shape[1], alpha.shape[0]
    left, top, right, bottom = box
    free = 2 * round(margin * max(right - left, bottom - top))
    width, height = right - left + free, bottom - top + free
    if aspect is not None:
        width, height = max(width, round(height * aspect)), max(height, round(width / aspect))
    left, top = (left + right - width) // 2, (top + bottom - height) // 2
    return left, top, left + width, top + height


def keep_largest(alpha: Levels, num: int) -> Levels:
    """An alpha, uint8 or uint16 (H, W), with all but its `num` largest parts removed.

    Parts are what hangs together, by sides of pixels, where alpha is above one twentieth; what is fainter stays only
    next to a part that stays.
    """
    if num < 1:
        raise ValueError(f"the number of parts to keep is 1 or more, got {num}")
    parts = Parts.of(to_8_bits(alpha) >= _SEEN)
    chosen = np.zeros(len(parts.areas), dtype=np.bool_)
    chosen[np.argsort(-parts.areas, kind="stable")[:num]] = True
    kept = parts.where(chosen)
    fringe = Parts.of((alpha > 0) & ~parts.where(~chosen))
    return alpha * fringe.where(fringe.touching(kept))


def multiplied(alpha: Levels, other: Image.Image | Levels) -> Levels:
    """The product of two alphas, uint8 (H, W) and "L", or both uint16 (H, W), of which the highest level is 1."""
    if isinstance(other, Image.Image):
        return np.asarray(ImageChops.multiply(Image.fromarray(alpha), other))
    return ((alpha.astype(np.uint32) * other + 32_767) // 65_535).astype(np.uint16)


def _seen_box(alpha: Levels) -> Box | None:
    """Left, top, right and bottom of what shows; None if nothing does."""
    return Image.fromarray(to_8_bits(alpha)).point([255 if value >= _SEEN else 0 for value in range(256)]).getbbox()


def _far_from_visible(alpha: Levels) -> Image.Image:
    """Mask ("1") of all pixels but the blocks that hold or touch a pixel with any alpha.

    Programs that scale straight colours mix a visible pixel with its invisible neighbours; those must not be black.
    """
    height, width = alpha.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.zeros((rows * _BLOCK, columns * _BLOCK), dtype=np.uint8)
    np.not_equal(alpha, 0, out=padded.view(np.bool)[:height, :width])
    # The 8 bytes of a block's row are read as one number: any is not 0 if and only if that is not.
    visible = padded.view(np.uint64).reshape(rows, _BLOCK, columns).any(axis=1)
    far: NDArray[np.bool] = np.ones((rows, columns), dtype=np.bool)
    ringed = np.pad(visible, 1)
    for dy in range(3):
        for dx in range(3):
            far &= ~ringed[dy : dy + rows, dx : dx + columns]
    box = (0, 0, width / _BLOCK, height / _BLOCK)
    return Image.fromarray(far).resize((width, height), Image.Resampling.NEAREST, box)
