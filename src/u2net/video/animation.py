"""Animated GIF, WebP and PNG, through Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from PIL import Image, ImageSequence

from u2net.errors import InvalidFilm
from u2net.video.film import Facts, Film, Frame, as_picture


class Animation(Film):
    """An animated picture that Pillow reads."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        try:
            self._image = Image.open(path)
            num = int(getattr(self._image, "n_frames", 1))
            first = self._image.info.get("duration", 0) or 100
        except (OSError, ValueError, SyntaxError) as error:
            raise InvalidFilm(f"not an animated picture: {error}") from None
        self.facts = Facts(self._image.size, Fraction(1000) / Fraction(first), num * first / 1000, num)

    def close(self) -> None:
        """See `Film`."""
        self._image.close()

    def frames(self, start: float = 0.0, end: float | None = None) -> Iterator[Frame]:
        """See `Film`."""
        time, num = Fraction(0), 0
        try:
            for image in ImageSequence.Iterator(self._image):
                if end is not None and float(time) >= end:
                    return
                image.load()
                if float(time) >= start:
                    yield Frame(as_picture(np.asarray(image.convert("RGBA"))), time)
                num += 1
                # Browsers show frames of no stated time for a tenth of a second.
                time += Fraction(image.info.get("duration", 0) or 100) / 1000
        except (OSError, ValueError, SyntaxError) as error:
            there = f"{num} of its {self.facts.num_frames} frames are there"
            raise InvalidFilm(f"it is cut off: {there}; --end {float(time):.2f} takes these") from error
