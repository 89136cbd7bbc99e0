"""Structural similarity of a map with its truth, made for descending: quick backwards, exact in single precision."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 11
"""Width and height of the Gaussian window, pixels."""

_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # for values in [0, 1]


class Similarity:
    """SSIM of maps with one truth, (B, 1, H, W) in [0, 1], of at least 11 × 11 pixels.

    Windows lie within the picture, as in the authors' code (BASNet pads with zeros, which makes the border a change
    from truth to nothing). What follows from the truth alone is computed once. Wang et al., Image quality assessment:
    from error visibility to structural similarity, IEEE TIP 2004; used as a loss by Qin et al., BASNet, CVPR 2019.
    """

    def __init__(self, truth: Tensor) -> None:
        self._truth = truth
        self._mean = blur(truth)
        squares = self._mean * self._mean
        self._squares = squares + _C1
        self._variance = blur(truth * truth) - squares + _C2

    def __call__(self, maps: Tensor) -> Tensor:
        """Mean over all windows, scalar, at most 1, of maps (B, 1, H, W) in [0, 1]."""
        mean = blur(maps)
        squares, products = mean * mean, mean * self._mean
        variance = blur(maps * maps) - squares
        covariance = blur(maps * self._truth) - products
        likeness = (2 * products + _C1) * (2 * covariance + _C2)
        return (likeness / ((squares + self._squares) * (variance + self._variance))).mean()


def blur(values: Tensor) -> Tensor:
    """The Gaussian mean of each window that lies within the picture: (B, C, H, W) to (B, C, H − 10, W − 10)."""
    return _Blur.apply(values)  # type: ignore[no-any-return, no-untyped-call]


class _Blur(torch.autograd.Function):
    """Shifted sums: forth and back they take a ninth of a convolution's time on a CPU, and no GPU rounds them to TF32.

    Variances are small differences of these sums, which ten bits would not bear.
    """

    @staticmethod
    def forward(values: Tensor) -> Tensor:
        return _weighted(_weighted(values, 2), 3)

    @staticmethod
    def setup_context(_ctx: Any, _inputs: tuple[Tensor], _output: Tensor) -> None:
        """The sums are linear: nothing need be kept."""

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        # The weights are symmetric, so that what a pixel gave is gathered as it was given.
        return blur(F.pad(gradient, (WINDOW - 1,) * 4))


def _weighted(values: Tensor, axis: int) -> Tensor:
    """Weighted sums of 11 neighbours along an axis, which becomes shorter by 10."""
    num = values.shape[axis] - WINDOW + 1
    total = values.narrow(axis, 0, num) * _WEIGHTS[0]
    for i in range(1, WINDOW):
        total.add_(values.narrow(axis, i, num), alpha=_WEIGHTS[i])
    return total


def _gaussian() -> list[float]:
    bell = [math.exp(-0.5 * ((i - WINDOW // 2) / _SIGMA) ** 2) for i in range(WINDOW)]
    return [weight / sum(bell) for weight in bell]


_WEIGHTS = _gaussian()
