"""Some pixels of a large picture: taken out, seen by smooth maps of a small picture, and put back.

What is uncertain of a picture is some hundredths of it, along outlines. All else is left alone, so that time follows
these pixels; areas bound the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.images.picture import Levels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Area = tuple[slice, slice]

_ROWS, _COLUMNS = 128, 512  # of an area at most: smaller ones hold fewer pixels in vain, and are more
_GAP = 64  # columns; where so many hold no pixel, an area ends


@dataclass(frozen=True)
class Scattered:
    """N pixels of an area of a picture."""

    shape: tuple[int, int]
    """(H, W) of the whole picture."""
    area: Area
    """Rows and columns."""
    where: NDArray[np.intp]
    """(N,): where they lie in the flattened area."""

    @classmethod
    def of(cls, shape: tuple[int, int], mask: Callable[[Area], Mask]) -> Iterator[Scattered]:
        """The pixels of a mask that `mask` gives strip by strip, in areas of bounded size that hold them closely."""
        height, width = shape
        for top in range(0, height, _ROWS):
            rows = slice(top, min(top + _ROWS, height))
            strip = mask((rows, slice(0, width)))
            held = np.flatnonzero(strip.any(axis=0))
            for run in np.split(held, np.flatnonzero(np.diff(held) > _GAP) + 1) if len(held) else ():
                for left in range(int(run[0]), int(run[-1]) + 1, _COLUMNS):
                    columns = slice(left, min(left + _COLUMNS, int(run[-1]) + 1))
                    yield cls(shape, (rows, columns), np.flatnonzero(strip[:, columns]))

    def smooth(self, maps: Floats) -> Floats:
        """Maps of a small picture, float32 (K, h, w), between its pixels, bilinearly: (K, N)."""
        if min(maps.shape) == 1:
            maps = np.pad(maps, [(0, 0), *((0, int(num == 1)) for num in maps.shape[1:])], mode="edge")
        (top, down), (left, across) = (
            _neighbours(ends, full, num) for ends, full, num in zip(self.area, self.shape, maps.shape[1:], strict=True)
        )
        first = int(left[0])
        near = maps[:, :, first : int(left[-1]) + 2]
        rows = near.take(top, axis=1)
        rows += (near.take(top + 1, axis=1) - rows) * down[:, None]
        y = self.where // len(left)
        x = self.where - y * len(left)
        before = y * rows.shape[2] + (left - first).take(x)
        flat = rows.reshape(len(maps), -1)
        found = flat.take(before, axis=1)
        found += (flat.take(before + 1, axis=1) - found) * across.take(x)
        return np.asarray(found)

    def values(self, levels: Levels) -> NDArray[Any]:
        """Of an array (H, W): (N,)."""
        return levels[self.area].reshape(-1).take(self.where)

    def colors(self, image: Image.Image | Levels) -> NDArray[Any]:
        """Of a picture, "RGB" or (H, W, 3): (3, N)."""
        return self._piece(image).reshape(-1).take(self._of_channels)

    def put(self, image: Image.Image | NDArray[Any], values: NDArray[Any]) -> None:
        """Set the pixels of an array (H, W) to (N,), those of a picture, "RGB" or (H, W, 3), to (3, N)."""
        piece = self._piece(image).copy()
        piece.reshape(-1)[self.where if values.ndim == 1 else self._of_channels] = values
        if isinstance(image, Image.Image):
            image.paste(Image.fromarray(piece), (self.area[1].start, self.area[0].start))
        else:
            image[self.area] = piece

    @cached_property
    def _of_channels(self) -> NDArray[np.intp]:
        """(3, N): where the pixels' channels lie in a flattened piece of a picture."""
        return 3 * self.where + np.arange(3)[:, None]

    def _piece(self, image: Image.Image | NDArray[Any]) -> NDArray[Any]:
        if not isinstance(image, Image.Image):
            return image[self.area]
        rows, columns = self.area
        return np.asarray(image.crop((columns.start, rows.start, columns.stop, rows.stop)))


def _neighbours(ends: slice, full: int, num: int) -> tuple[NDArray[np.intp], Floats]:
    """Of `num` samples, 2 or more, the last before each of some of `full` pixels, and how far to the next these lie."""
    places = ((np.arange(ends.start, ends.stop) + 0.5) * (num / full) - 0.5).clip(0, num - 1)
    before = np.minimum(places.astype(np.intp), num - 2)
    return before, (places - before).astype(np.float32)
