"""From the network's mask to the alpha of a cut-out."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.matting.areas import Area
from u2net.cutout.matting.closed_form import solve
from u2net.cutout.matting.guided import LinearAlpha
from u2net.images.picture import Levels, to_8_bits, to_16_bits, to_floats, to_levels

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_SIGMA = 2
_RADIUS = 4 * _SIGMA

_BACKGROUND, _UNKNOWN, _SUBJECT = 0, 128, 255
_SMALLEST = 32  # longer side of the picture that is solved first
_MOST_UNKNOWN = 500_000  # pixels to solve for; they take some 150 MB
_TOLERANCE = 1e-3  # of the residual that each size starts with
_FLAT = 1e-5  # variance of colour that linear functions of colour take for none


def smooth_mask(mask: Pixels) -> Pixels:
    """A hard mask of 0 and 255 with smooth outlines from a soft one; both uint8 (H, W).

    This is rembg's `post_process_mask`: grey opening by a cross of radius 1, Gaussian of sigma 2 pixels, threshold
    127. Specks and hairs of less than three pixels vanish.
    """
    opened = _over_cross(np.maximum, _over_cross(np.minimum, mask))
    blurred = _blur_rows(_blur_rows(opened.astype(np.float32)).T).T
    return np.where(blurred < 127, 0, 255).astype(np.uint8)


def alpha_matte(
    image: Levels,
    mask: Pixels,
    *,
    foreground_threshold: int = 240,
    background_threshold: int = 10,
    erode_size: int = 10,
) -> Levels:
    """Closed form between what a mask is sure of, rembg's `alpha_matting`: (H, W), uint8 or uint16 as the image.

    The mask is uint8; the other parameters are those of `trimap`. A mask that is nowhere sure of the subject, or
    nowhere of the background, is given back as it is.
    """
    known = trimap(mask, foreground_threshold, background_threshold, erode_size)
    if not ((known == _BACKGROUND).any() and (known == _SUBJECT).any()):
        return mask.copy() if image.dtype == np.uint8 else to_16_bits(mask)
    return estimate_alpha(image, known)


def trimap(mask: Pixels, foreground_threshold: int, background_threshold: int, erode_size: int) -> Pixels:
    """What a mask is sure of, as rembg has it: uint8 (H, W), 255 subject, 0 background, 128 unknown.

    Sure is what lies above the one or below the other threshold in all of a square of `erode_size` around it; below 1,
    in the pixel and its four neighbours. Beyond the border lies background.
    """
    known = np.full(mask.shape, _UNKNOWN, dtype=np.uint8)
    known[_eroded(mask > foreground_threshold, erode_size, beyond=False)] = _SUBJECT
    known[_eroded(mask < background_threshold, erode_size, beyond=True)] = _BACKGROUND
    return known


def estimate_alpha(image: Levels, known: Pixels) -> Levels:
    """Closed-form alpha, (H, W), of a picture, uint8 or uint16 (H, W, 3), by a trimap, uint8 (H, W), of 0, 128 and 255.

    Pictures halved again and again are solved, small to large, each from the one before, so that no size takes many
    steps. A size with more than half a million unknown pixels is not solved: its alpha is that of the largest before
    it, by linear functions of colour. So memory is bounded.
    """
    trimaps = [known]
    while max(trimaps[0].shape) > _SMALLEST or np.count_nonzero(trimaps[0] == _UNKNOWN) > _MOST_UNKNOWN:
        trimaps.insert(0, _halved(trimaps[0]))
    solved = [level for level in trimaps if np.count_nonzero(level == _UNKNOWN) <= _MOST_UNKNOWN]
    coarse = Image.fromarray(to_8_bits(image))
    alpha = np.where(solved[0] == _UNKNOWN, 0.5, solved[0] / 255).astype(np.float32)
    for level, larger in zip(solved, [*solved[1:], known], strict=True):
        colors = to_floats(image if level is known else _resized(coarse, level))
        alpha = solve(colors, alpha, level == _UNKNOWN, tolerance=_TOLERANCE)
        if larger.shape != level.shape:
            function = LinearAlpha.fit(colors, alpha, radius=1, epsilon=_FLAT)
            alpha = _continued(function, image if larger is known else _resized(coarse, larger), larger)
    return to_levels(alpha, image.dtype)


def _continued(function: LinearAlpha, image: Levels, known: Pixels) -> Floats:
    """An alpha on a larger picture: by a function where it is unknown, else as known."""
    alpha = to_floats(known)
    for area in Area.of(known.shape, lambda box: known[box] == _UNKNOWN):
        area.put(alpha, function(area, image).clip(0, 1))
    return alpha


def _resized(image: Image.Image, like: Pixels) -> Pixels:
    """The mean colours of a picture at the size of another."""
    return np.asarray(image.resize(like.shape[::-1], Image.Resampling.BOX))


def _halved(known: Pixels) -> Pixels:
    """A trimap of half the size: what is not the same in all four pixels is unknown."""
    even = np.pad(known, [(0, length % 2) for length in known.shape], mode="edge")
    quarters = (even[0::2, 0::2], even[1::2, 0::2], even[0::2, 1::2], even[1::2, 1::2])
    same = (quarters[0] == quarters[1]) & (quarters[2] == quarters[3]) & (quarters[0] == quarters[2])
    return np.where(same, quarters[0], np.uint8(_UNKNOWN))


def _eroded(mask: Mask, size: int, *, beyond: bool) -> Mask:
    """Pixels whose squares of `size`, or crosses if that is below 1, lie in the mask; so may what is beyond the border.

    Even squares reach one pixel further up and to the left, as scipy's.
    """
    if size < 1:
        return _over_cross(np.logical_and, np.pad(mask, 1, constant_values=beyond))[1:-1, 1:-1]
    for axis in (0, 1):
        reach = [(size // 2, size - 1 - size // 2) if a == axis else (0, 0) for a in (0, 1)]
        rows = np.pad(mask, reach, constant_values=beyond).swapaxes(0, axis)
        length = 1
        while length < size:  # each row stands for `length` rows from it on
            step = min(length, size - length)
            rows = rows[:-step] & rows[step:]
            length += step
        mask = rows.swapaxes(0, axis)
    return mask


def _over_cross(extremum: np.ufunc, mask: NDArray[Any]) -> NDArray[Any]:
    """Minimum, maximum or conjunction over each pixel and its four neighbours."""
    padded = np.pad(mask, 1, mode="edge")
    neighbours = (padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1])
    return reduce(extremum, neighbours, mask)


def _blur_rows(values: Floats) -> Floats:
    """Gaussian along the second axis, mirrored at the border."""
    kernel = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float32) / _SIGMA) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((0, 0), (_RADIUS, _RADIUS)), mode="symmetric")
    blurred = np.zeros_like(values)
    for offset, weight in enumerate(kernel):
        blurred += weight * padded[:, offset : offset + values.shape[1]]
    return blurred
