"""Guided filter: an alpha made at a low resolution follows the picture's edges at a high one.

He, Sun and Tang, Guided image filtering, TPAMI 2013; with functions from a smaller picture as in He and Sun, Fast
guided filter, 2015. In every window alpha is fitted by a linear function of colour; the functions, averaged over the
windows of a pixel and interpolated, are then applied to the colours of the full-size picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.cutout.matting.areas import Area
from u2net.images.picture import Levels, to_floats

Floats = NDArray[np.float32]

_GREY = np.float32(0.5)  # colours are counted from here: squares of small numbers lose less
_LEAST_VARIANCE = 1e-4  # of an alpha that there is anything to explain in


@dataclass(frozen=True)
class LinearAlpha:
    """Alpha as a linear function of colour that changes slowly over the picture."""

    coefficients: Floats
    """(4, h, w): factors of R, G, B in [0, 1], and what is added."""

    @classmethod
    def fit(cls, image: Floats, alpha: Floats, *, radius: int, epsilon: float) -> LinearAlpha:
        """Fit an alpha, float32 (h, w), in windows of 2 × `radius` + 1 pixels of `image`, float32 (h, w, 3) in [0, 1].

        `epsilon` is the variance of colour below which a window counts as flat: its alpha is then its mean.
        """
        windows = _Windows(image, alpha, radius, epsilon)
        return cls._from_grey([box_mean(part, radius) for part in (*windows.slopes, windows.rest())])

    @classmethod
    def fit_as_told(cls, image: Floats, alpha: Floats, *, radius: int, epsilon: float) -> LinearAlpha:
        """As `fit`, as far as colour tells: the share of alpha's variance that it does not explain is left to alpha.

        Where subject and surroundings look alike, functions of colour would make dirt of their differences.
        """
        windows = _Windows(image, alpha, radius, epsilon)
        told = windows.explained()
        slopes = [box_mean(part, radius) * told for part in windows.slopes]
        return cls._from_grey([*slopes, box_mean(windows.rest(), radius) * told + alpha * (1 - told)])

    @classmethod
    def _from_grey(cls, parts: list[Floats]) -> LinearAlpha:
        """Of factors of colours that are counted from grey, and what is added to them."""
        *slopes, rest = parts
        return cls(np.stack([*slopes, rest - _GREY * sum(slopes)]))

    def __call__(self, area: Area, image: Image.Image | Levels) -> Floats:
        """Alpha, float32 (h, w), in an area of the full-size picture, "RGB" or (H, W, 3); it may leave [0, 1]."""
        *slopes, alpha = area.smooth(self.coefficients)
        for slope, levels in zip(slopes, area.colors(image), strict=True):
            slope *= to_floats(levels)
            alpha += slope
        return np.asarray(alpha)


def explained(image: Floats, alpha: Floats, *, radius: int, epsilon: float) -> Floats:
    """The share of an alpha's variance, 0 to 1, that a linear function of colour explains in each window.

    Float32 (h, w); arguments as for `LinearAlpha.fit`. Near 0 where colours on both sides are alike, and where alpha
    does not change.
    """
    return _Windows(image, alpha, radius, epsilon).explained()


class _Windows:
    """The regression of alpha on colour in every window."""

    def __init__(self, image: Floats, alpha: Floats, radius: int, epsilon: float) -> None:
        self._radius = radius
        self._channels = [*(image.transpose(2, 0, 1) - _GREY), alpha]
        self._means = [box_mean(channel, radius) for channel in self._channels]
        self._with_alpha = [self._covariance(i, 3) for i in range(3)]
        ridge = np.float32(epsilon)
        lower = [self._covariance(i, j) + ridge * (i == j) for i in range(3) for j in range(i + 1)]
        self.slopes = Cholesky.of(*lower).solve(*self._with_alpha)

    def rest(self) -> Floats:
        """What is added to the slopes times colour."""
        *colors, alpha = self._means
        return np.asarray(alpha - sum(slope * mean for slope, mean in zip(self.slopes, colors, strict=True)))

    def explained(self) -> Floats:
        """The share of alpha's variance."""
        sums = sum(slope * covariance for slope, covariance in zip(self.slopes, self._with_alpha, strict=True))
        return np.asarray((sums / np.maximum(self._covariance(3, 3), np.float32(_LEAST_VARIANCE))).clip(0, 1))

    def _covariance(self, i: int, j: int) -> Floats:
        product = box_mean(self._channels[i] * self._channels[j], self._radius)
        return np.asarray(product - self._means[i] * self._means[j])


def box_mean(values: Floats, radius: int) -> Floats:
    """Means over windows of 2 × `radius` + 1 along the last two axes; beyond the border, its pixels are repeated."""
    side = 2 * radius + 1
    values = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(radius, radius)] * 2, mode="edge")
    for axis in (-2, -1):
        values = _sums(values.swapaxes(-2, axis), side).swapaxes(-2, axis)
    values *= np.float32(1 / side**2)
    return values


def _sums(values: Floats, num: int) -> Floats:
    """Sums of so many rows, from each on, along the last axis but one."""
    if num == 1:
        return values
    half = num // 2
    halves = _sums(values, half)
    sums = np.asarray(halves[..., :-half, :] + halves[..., half:, :])
    return sums if num % 2 == 0 else sums[..., :-1, :] + values[..., num - 1 :, :]


Values = TypeVar("Values", bound=NDArray[np.floating[Any]])


@dataclass(frozen=True)
class Cholesky(Generic[Values]):
    """Lower triangular factors, entry by entry; the diagonal's are stored inverted."""

    rr: Values
    gr: Values
    gg: Values
    br: Values
    bg: Values
    bb: Values

    @classmethod
    def of(cls, rr: Values, gr: Values, gg: Values, br: Values, bg: Values, bb: Values) -> Cholesky[Values]:
        """Of positive definite matrices, given by the entries of their lower triangles, arrays of one shape."""
        first: Any = 1 / np.sqrt(rr)
        below, last = gr * first, br * first
        second: Any = 1 / np.sqrt(gg - below * below)
        between = (bg - last * below) * second
        third: Any = 1 / np.sqrt(bb - last * last - between * between)
        return cls(first, below, second, last, between, third)

    def whiten(self, r: Values, g: Values, b: Values) -> tuple[Values, Values, Values]:
        """Vectors multiplied by the inverse of the factor."""
        x: Any = r * self.rr
        y: Any = (g - self.gr * x) * self.gg
        z: Any = (b - self.br * x - self.bg * y) * self.bb
        return x, y, z

    def solve(self, r: Values, g: Values, b: Values) -> tuple[Values, Values, Values]:
        """Vectors multiplied by the inverse of the matrix."""
        x, y, z = self.whiten(r, g, b)
        third: Any = z * self.bb
        second: Any = (y - self.bg * third) * self.gg
        first: Any = (x - self.gr * second - self.br * third) * self.rr
        return first, second, third
