"""Some pixels of a large picture, in the small areas that hold them: seen by smooth maps of a small picture.

What is uncertain of a picture is some hundredths of it, along outlines. All else is left alone, so that time follows
these areas, and their size bounds the memory. Simple things are computed for all of an area: to pick its pixels takes
longer.
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
Box = tuple[slice, slice]

_ROWS, _COLUMNS = 128, 512  # of an area at most: smaller ones hold fewer pixels in vain, and are more
_GAP = 64  # columns; where so many hold no pixel, an area ends
_BLOCKS = 8  # of the full picture's pixels, in one of the small picture, that have one value in common if picked


@dataclass(frozen=True)
class Area:
    """A part of a picture, (h, w), and which pixels of it count."""

    shape: tuple[int, int]
    """(H, W) of the whole picture."""
    box: Box
    """Its rows and columns."""
    mask: Mask
    """(h, w)."""

    @classmethod
    def of(cls, shape: tuple[int, int], mask: Callable[[Box], Mask]) -> Iterator[Area]:
        """The areas that hold the pixels of a mask closely; `mask` gives it for some rows and columns."""
        height, width = shape
        for top in range(0, height, _ROWS):
            rows = slice(top, min(top + _ROWS, height))
            strip = mask((rows, slice(0, width)))
            held = np.flatnonzero(strip.any(axis=0))
            for run in np.split(held, np.flatnonzero(np.diff(held) > _GAP) + 1) if len(held) else ():
                for left in range(int(run[0]), int(run[-1]) + 1, _COLUMNS):
                    columns = slice(left, min(left + _COLUMNS, int(run[-1]) + 1))
                    yield cls(shape, (rows, columns), strip[:, columns])

    def smooth(self, maps: Floats) -> Floats:
        """Maps of a small picture, float32 (K, m, n), between its pixels, bilinearly: (K, h, w)."""
        return self._between(maps, (1, 1))

    def smooth_picked(self, maps: Floats) -> Floats:
        """The same for its own N pixels, (K, N), to within a sixteenth of the small picture's pixel.

        Pixels in blocks of about an eighth of one, across and down, have one value in common.
        """
        down, across = (
            max(1, int(full / (num * _BLOCKS) + 0.5)) for full, num in zip(self.shape, maps.shape[1:], strict=True)
        )
        found = self._between(maps, (down, across))
        rows, columns = (
            np.arange(ends.start, ends.stop) // step for ends, step in zip(self.box, (down, across), strict=True)
        )
        places = ((rows - rows[0]) * found.shape[2])[:, None] + (columns - columns[0])
        return np.asarray(found.reshape(len(found), -1).take(self.picked(places), axis=1))

    def _between(self, maps: Floats, steps: tuple[int, int]) -> Floats:
        """In the middle of each block of so many rows and columns of the picture that holds some of the area."""
        if min(maps.shape) == 1:
            maps = np.pad(maps, [(0, 0), *((0, int(num == 1)) for num in maps.shape[1:])], mode="edge")
        (top, down), (left, across) = (
            _neighbours(*each) for each in zip(self.box, self.shape, maps.shape[1:], steps, strict=True)
        )
        # Columns before rows: rows are then made of whole rows, which costs little more than to copy them.
        near = maps[:, int(top[0]) : int(top[-1]) + 2]
        wide = near.take(left, axis=2)
        wide += (near.take(left + 1, axis=2) - wide) * across
        found = wide.take(top - top[0], axis=1)
        change = np.diff(wide, axis=1).take(top - top[0], axis=1)
        change *= down[:, None]
        found += change
        return np.asarray(found)

    def colors(self, image: Image.Image | Levels) -> NDArray[Any]:
        """Of a picture, "RGB" or (H, W, 3): (3, h, w)."""
        return np.moveaxis(self._piece(image), 2, 0)

    def picked(self, values: NDArray[Any]) -> NDArray[Any]:
        """Its own N pixels of values (h, w) or (K, h, w): (N,) or (K, N)."""
        return values.reshape(*values.shape[:-2], -1).take(self._where, axis=-1)

    def put(self, levels: NDArray[Any], values: NDArray[Any]) -> None:
        """Set its pixels of an array (H, W) to those of values (h, w)."""
        np.copyto(levels[self.box], values, where=self.mask)

    def change_colors(self, image: Image.Image | Levels, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        """In a picture, "RGB" or (H, W, 3), replace the colours of its N pixels, (3, N), by what is made of them."""
        piece = self._piece(image).copy()
        values, places = piece.reshape(-1), 3 * self._where + np.arange(3)[:, None]
        values[places] = change(values[places])
        if isinstance(image, Image.Image):
            image.paste(Image.fromarray(piece), (self.box[1].start, self.box[0].start))
        else:
            image[self.box] = piece

    @cached_property
    def _where(self) -> NDArray[np.intp]:
        """(N,): where its pixels lie in the flattened area."""
        return np.flatnonzero(self.mask)

    def _piece(self, image: Image.Image | NDArray[Any]) -> NDArray[Any]:
        if not isinstance(image, Image.Image):
            return image[self.box]
        rows, columns = self.box
        return np.asarray(image.crop((columns.start, rows.start, columns.stop, rows.stop)))


def _neighbours(ends: slice, full: int, num: int, step: int) -> tuple[NDArray[np.intp], Floats]:
    """Of `num` samples, 2 or more, the last before the middle of each block, and how far that lies from it.

    Blocks are those of `step` pixels that hold some of a part of `full` pixels.
    """
    middles = (np.arange(ends.start // step, -(-ends.stop // step)) + 0.5) * step
    places = (middles * (num / full) - 0.5).clip(0, num - 1)
    before = np.minimum(places.astype(np.intp), num - 2)
    return before, (places - before).astype(np.float32)
