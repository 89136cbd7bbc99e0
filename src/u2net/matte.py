"""From the network's mask to the alpha of a cut-out."""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

_SIGMA = 2
_RADIUS = 4 * _SIGMA


def smooth_mask(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A hard mask of 0 and 255 with smooth outlines from a soft one; both uint8 (H, W).

    This is rembg's `post_process_mask`: grey opening by a cross of radius 1, Gaussian of sigma 2 pixels, threshold
    127. Specks and hairs of less than three pixels vanish.
    """
    opened = _over_cross(np.maximum, _over_cross(np.minimum, mask))
    blurred = _blur_rows(_blur_rows(opened.astype(np.float32)).T).T
    return np.where(blurred < 127, 0, 255).astype(np.uint8)


def _over_cross(extremum: np.ufunc, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Minimum or maximum over each pixel and its four neighbours."""
    padded = np.pad(mask, 1, mode="edge")
    neighbours = (padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1])
    return reduce(extremum, neighbours, mask)


def _blur_rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gaussian along the second axis, mirrored at the border."""
    kernel = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1, dtype=np.float32) / _SIGMA) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((0, 0), (_RADIUS, _RADIUS)), mode="symmetric")
    blurred = np.zeros_like(values)
    for offset, weight in enumerate(kernel):
        blurred += weight * padded[:, offset : offset + values.shape[1]]
    return blurred
