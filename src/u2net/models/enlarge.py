"""Maps brought to the size of large pictures, in stripes of columns side by side."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STRIPE = 512  # columns: what the second pass reads of them stays in a processor's cache
_SMALL = 2**20
_MAX_THREADS = 4


def enlarge(values: NDArray[Any], size: tuple[int, int], kernel: Image.Resampling) -> NDArray[Any]:
    """A map uint8 or float32 (h, w) at `size` = (width, height): (height, width), bit for bit as Pillow's resize.

    Where both sides grow, Pillow resizes along rows first, then along columns, of which each has nothing to do with the
    others.
    """
    width, height = size
    image = Image.fromarray(values)
    if width * height <= _SMALL or width < image.width or height < image.height:
        return np.array(image.resize(size, kernel))
    wide = image.resize((width, image.height), kernel)
    enlarged = np.empty((height, width), dtype=values.dtype)

    def fill(left: int) -> None:
        right = min(left + _STRIPE, width)
        stripe = wide.crop((left, 0, right, wide.height))
        enlarged[:, left:right] = np.asarray(stripe.resize((right - left, height), kernel))

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        list(pool.map(fill, range(0, width, _STRIPE)))
    return enlarged
