"""The subject's own colours where they are mixed with what was behind it.

A pixel's colour is alpha × F + (1 − alpha) × B. F and B are found on a small picture, and change slowly; for a mixed
pixel of the full one they are read from there, and corrected so that they explain its colour.

Forte, Approximate fast foreground colour estimation, ICIP 2021: F and B are means over windows, weighted by alpha. Ours
takes windows of 3 × 3 pixels on a picture that is halved again and again, coarse to fine, in place of large ones: as
exact, in less time (docs/matting.md).
"""

from __future__ import annotations

from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.matting.areas import Area
from u2net.cutout.matting.small import reduced
from u2net.images.picture import Levels, to_floats, to_levels

Floats = NDArray[np.float32]
Colors = TypeVar("Colors", Image.Image, NDArray[np.uint8], NDArray[np.uint16], Image.Image | NDArray[np.uint16])

_SAMPLES = 4  # of the pixels of the small picture, across and down; more change nothing
_ROUNDS = 2  # on each of its sizes
_LEAST = np.float32(1e-4)  # weight of what is all subject, or all background, in the mean of the other
_TRUST = np.float32(0.8)  # in alpha: with 1 true alphas give the truest colours, with 0 those that are off do


def foreground(image: Colors, alpha: Levels, *, in_place: bool = False) -> Colors:
    """The picture with the background taken out of its colours, as it came: "RGB", or uint8 or uint16 (H, W, 3).

    `alpha` is uint8 or uint16 (H, W). Colours change where it is neither nothing nor everything, nowhere else, and are
    straight: they are to be shown with the same alpha. `in_place` changes the picture itself. Besides a few
    milliseconds, time follows the pixels of such alpha; memory, beyond the result, is small.
    """
    shape = (image.height, image.width, len(image.getbands())) if isinstance(image, Image.Image) else image.shape
    if len(shape) != 3 or shape[2] != 3 or alpha.shape != shape[:2]:
        raise ValueError(f"an image is (H, W, 3) and its alpha (H, W), got {shape} and {alpha.shape}")
    result = image if in_place else image.copy()
    one = alpha.dtype.type(1)
    peak = alpha.dtype.type(np.iinfo(alpha.dtype).max)
    pair = None
    for area in Area.of(alpha.shape, lambda box: alpha[box] - one < peak - one):  # 0 becomes the highest
        if pair is None:
            pair = _both(reduced(image, _SAMPLES).transpose(2, 0, 1), reduced(alpha, _SAMPLES))
            pair[3:] -= pair[:3]
        own = to_floats(area.picked(alpha[area.box]))
        area.change_colors(result, partial(_unmixed, alpha=own, pair=area.smooth_picked(pair)))
    return result


def _unmixed(colors: Levels, alpha: Floats, pair: Floats) -> Levels:
    """Levels (3, N) of F, for colours, (3, N), of which alpha, (N,), is F: from F and B near them, (6, N)."""
    subject, rest = np.split(pair, 2)
    # What the mean of both, by alpha, does not explain of a colour; `rest` is B − F.
    rest *= alpha - 1
    rest -= subject
    rest += to_floats(colors)
    rest *= alpha / (1 - 2 * _TRUST * alpha * (1 - alpha))
    subject += rest
    return to_levels(subject, colors.dtype)


def _both(colors: Floats, alpha: Floats) -> Floats:
    """F and B of each pixel, float32 (6, h, w), of colours, (3, h, w), and alpha, (h, w).

    They start as those of half the size. Twice they are corrected so that they explain the colours, and made means over
    3 × 3 pixels, weighted by the square of alpha or of what is left of it.
    """
    if max(alpha.shape) > 1:
        coarse = _both(_halved(colors), _halved(alpha))
        pair = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, : alpha.shape[0], : alpha.shape[1]]
    else:
        pair = np.concatenate([colors, colors])
    pair = pair.reshape(2, 3, *alpha.shape)
    shares = np.stack([alpha, 1 - alpha])[:, None]
    squares = np.square(shares)
    weights, steps = squares + _LEAST, shares / squares.sum(axis=0)
    sums = _window_sums(weights)
    for _ in range(_ROUNDS):
        rest = colors - shares[0] * pair[0]
        rest -= shares[1] * pair[1]
        pair += steps * rest
        pair *= weights
        pair = _window_sums(pair)
        pair /= sums
        pair.clip(0, 1, out=pair)
    return pair.reshape(6, *alpha.shape)


def _halved(values: Floats) -> Floats:
    """Means of 2 × 2 values along the last two axes."""
    odd = [(0, 0)] * (values.ndim - 2) + [(0, length % 2) for length in values.shape[-2:]]
    even = np.pad(values, odd, mode="edge")
    pairs = even[..., 0::2, :] + even[..., 1::2, :]
    return np.asarray((pairs[..., 0::2] + pairs[..., 1::2]) / 4)


def _window_sums(values: Floats) -> Floats:
    """Sums over 3 × 3 values along the last two axes; beyond the border is nothing."""
    wide = values.copy()
    wide[..., 1:] += values[..., :-1]
    wide[..., :-1] += values[..., 1:]
    sums = wide.copy()
    sums[..., 1:, :] += wide[..., :-1, :]
    sums[..., :-1, :] += wide[..., 1:, :]
    return sums
