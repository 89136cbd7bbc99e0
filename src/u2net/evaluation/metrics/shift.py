"""Pictures whose rows lie end to end in memory: to look at a neighbour is to shift one long line.

numpy takes several times as long for slices of many rows as for one line of as many pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def end_to_end(picture: NDArray[Any], gap: int, dtype: type[np.generic], fill: float = 0) -> NDArray[Any]:
    """A copy (H, W + gap) of a picture (H, W), with that many pixels of `fill` behind each row.

    Shifts by no more than the gap do not bring pixels of one row into another.
    """
    height, width = picture.shape
    padded = np.full((height, width + gap), fill, dtype=dtype)
    padded[:, :width] = picture
    return padded


def combine(operation: np.ufunc, line: NDArray[Any], other: NDArray[Any], step: int) -> None:
    """Combine a line in place with another of its length, moved on by `step`, or back; what misses the line is lost."""
    if step > 0:
        operation(line[step:], other[:-step], out=line[step:])
    else:
        operation(line[:step], other[-step:], out=line[:step])
