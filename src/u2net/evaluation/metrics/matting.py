"""SAD, MSE, gradient and connectivity error of soft mattes: the map is an alpha, the truth is soft and never cut.

Rhemann et al., A perceptually motivated online benchmark for image matting, CVPR 2009. What the paper leaves open is
done as in the MATLAB code published with Xu et al., Deep Image Matting, CVPR 2017, on which later papers' tables rest;
docstrings say where paper, code and we differ. All errors are 0 for equal maps, and symmetric in map and truth.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from u2net.evaluation.metrics.base import Pair, PictureMeasure
from u2net.images.morphology import Mask, largest_part

Errors = NDArray[np.float64]
"""float64 (H, W): the error at each pixel, 0 or more."""


class _MattingError(PictureMeasure):
    """A sum over pixels, in thousands: over the whole picture, or over a region given with each pair.

    A region, boolean (H, W), is most often the unknown part of a trimap, as in published tables. Errors are computed on
    the whole picture and summed inside the region; an empty region has no error.
    """

    lower_is_better = True

    @abstractmethod
    def errors(self, pair: Pair) -> Errors:
        """The error at each pixel."""

    def score(self, pair: Pair, region: Mask | None = None) -> dict[str, float]:
        """The error of one pair. Raises ValueError for a region that is not boolean or has another shape."""
        errors = self.errors(pair)
        if region is not None:
            if region.dtype != np.bool_ or region.shape != errors.shape:
                raise ValueError(f"a region is boolean {errors.shape}, not {region.dtype} {region.shape}")
            errors = errors[region]
        return {self.in_tables[0]: self._total(errors)}

    def step(self, pair: Pair, region: Mask | None = None) -> dict[str, float]:
        """Add a pair; return its error."""
        scores = self.score(pair, region)
        self._add(scores)
        return scores

    def _total(self, errors: Errors) -> float:
        return float(errors.sum()) / 1000


class SAD(_MattingError):
    """Sum of absolute differences of alphas in [0, 1], in thousands of pixels, 0 to H × W / 1000."""

    in_tables = ("SAD",)

    def errors(self, pair: Pair) -> Errors:
        """Absolute differences, 0 to 1."""
        return np.asarray(np.abs(pair.saliency.astype(np.int16) - pair.truth) / 255)


class MSE(_MattingError):
    """Mean, not sum, of squared differences of alphas in [0, 1], 0 to 1; tables often print it in thousandths."""

    in_tables = ("MSE",)

    def errors(self, pair: Pair) -> Errors:
        """Squared differences, 0 to 1."""
        return (pair.saliency.astype(np.int32) - pair.truth) ** 2 / 255**2

    def _total(self, errors: Errors) -> float:
        return float(errors.sum()) / max(errors.size, 1)


class GradientError(_MattingError):
    """Sum of squared differences of the alphas' gradient magnitudes, in thousands, 0 and up.

    Gradients are by first derivatives of a Gaussian, sigma 1.4, over 9 × 9 pixels, scaled so that the squares of a
    filter's weights sum to 1; border pixels are repeated beyond the border. The published code first stretches each
    alpha to fill [0, 1]; we do not, which changes nothing for an alpha that holds both 0 and 255.
    """

    in_tables = ("Grad",)

    def errors(self, pair: Pair) -> Errors:
        """Squared differences of gradient magnitudes."""
        return (_gradient(pair.saliency) - _gradient(pair.truth)) ** 2


class ConnectivityError(_MattingError):
    """Sum of differences in how well each pixel is connected to the subject, in thousands, 0 to H × W / 1000.

    At each threshold 0.1, 0.2, …, 1, the pixels where both alphas reach it form 4-connected parts. A pixel is connected
    up to the last threshold before it first lies outside the largest part. What an alpha has above that counts as
    unconnected, if it is 0.15 or more.

    This follows the published code, with its step 0.1, theta 0.15 and p = 1. The paper asks for connection to the one
    region where both are opaque, not to the largest at each threshold, and may weight by distance. Of equally large
    parts the first in reading order is taken (MATLAB: by columns). Thresholds are compared in whole numbers: Python
    ports in floating point find level 153 below 0.6.
    """

    in_tables = ("Conn",)

    def errors(self, pair: Pair) -> Errors:
        """Absolute differences of connectedness, 0 to 1."""
        common = 2 * np.minimum(pair.saliency, pair.truth).astype(np.int16)  # in 1/510, where a tenth is 51
        connected = np.ones(common.shape, dtype=np.bool_)
        reached = np.zeros(common.shape, dtype=np.int16)
        for threshold in range(51, 511, 51):
            connected &= largest_part(common >= threshold)
            reached += 51 * connected
        above = (2 * alpha.astype(np.int16) - reached for alpha in (pair.saliency, pair.truth))
        first, second = (np.where(excess >= 0.15 * 510, excess, 0) for excess in above)
        return np.asarray(np.abs(first - second) / 510)


def _gradient(alpha: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The length of the gradient at each pixel, float64 (H, W), of an alpha in [0, 1]."""
    offsets = np.arange(-4.0, 5.0)
    bell = np.exp(-(offsets**2) / (2 * 1.4**2))
    slope = offsets * bell
    bell, slope = bell / np.linalg.norm(bell), slope / np.linalg.norm(slope)
    padded = np.pad(alpha / 255, 4, mode="edge")
    across = _correlate(_correlate(padded, slope, 1), bell, 0)
    down = _correlate(_correlate(padded, bell, 1), slope, 0)
    return np.hypot(across, down)


def _correlate(values: NDArray[np.float64], taps: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Weighted sums of neighbours along an axis, which becomes shorter."""
    return np.asarray(sliding_window_view(values, len(taps), axis=axis) @ taps)
