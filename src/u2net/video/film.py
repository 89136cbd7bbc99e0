"""Films as frames: what FFmpeg reads, through PyAV, and animated GIF, WebP and PNG, through Pillow."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from u2net.errors import ImageTooLarge
from u2net.images import ANIMATED
from u2net.images.limits import Limits, check_size, own_limits
from u2net.images.picture import Picture

RGB, BT709, UNSPECIFIED = 0, 1, 2
"""Matrices, by FFmpeg's numbers."""
MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class Frame:
    """One picture of a film."""

    picture: Picture
    """Upright; with 16 bits per channel where the film has more than 8."""
    time: Fraction
    """Seconds since the film began."""


@dataclass(frozen=True)
class Colors:
    """How a film's colours are to be understood, in FFmpeg's numbers (ITU-T H.273)."""

    matrix: int = UNSPECIFIED
    full_range: bool = False
    primaries: int = UNSPECIFIED
    curve: int = UNSPECIFIED


@dataclass(frozen=True)
class Facts:
    """What is known of a film before its frames are read."""

    size: tuple[int, int]
    """Width and height of the upright frames."""
    rate: Fraction
    """Frames a second, on average."""
    duration: float | None
    """Seconds."""
    num_frames: int | None
    bits: int = 8
    """Of each channel: 8, or more."""
    aspect: Fraction = Fraction(1)
    """Width over height of a pixel."""
    colors: Colors = field(default_factory=Colors)
    has_sound: bool = False
    tick: Fraction = MILLISECOND
    """Seconds, of which the times of frames are multiples."""


class Film(ABC):
    """A film to read: a context manager. `broken` names frames that could not be decoded well."""

    facts: Facts

    def __init__(self) -> None:
        self.broken: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def frames(self, start: float = 0.0, end: float | None = None) -> Iterator[Frame]:
        """The frames from `start` on and before `end`, in seconds, in their order.

        Raises InvalidFilm for a film that is cut off, when its last frame was given, and for one without a frame.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


def open_film(path: str | os.PathLike[str], limits: Limits | None = None) -> Film:
    """A film, or an animated picture, of any kind that FFmpeg or Pillow reads.

    `limits` are of each frame, by default `own_limits()`. Raises InvalidFilm for what is none, ImageTooLarge for frames
    beyond the limits, OSError for a file that cannot be read, MissingExtra without PyAV.
    """
    limits = limits or own_limits()
    with Path(path).open("rb"):  # whose errors are better than FFmpeg's
        pass
    from u2net.video.animation import Animation
    from u2net.video.container import Container

    film = Animation(path) if os.fspath(path).lower().endswith(ANIMATED) else Container(path)
    try:
        check_size(film.facts.size, limits)
    except ImageTooLarge:
        film.close()
        raise
    return film


def num_frames(path: str | os.PathLike[str]) -> int:
    """How many frames a picture has; 1 for what cannot be told."""
    with suppress(OSError, ValueError, SyntaxError), Image.open(path) as image:
        return int(getattr(image, "n_frames", 1))
    return 1


def as_picture(pixels: np.ndarray) -> Picture:
    """An array (H, W, 3) or (H, W, 4) of 8 or 16 bits as a picture."""
    deep = pixels.dtype == np.uint16
    eight = (pixels >> 8).astype(np.uint8) if deep else pixels
    has_alpha = pixels.shape[2] == 4 and not (pixels[:, :, 3] == np.iinfo(pixels.dtype).max).all()
    return Picture(
        rgb=Image.fromarray(np.ascontiguousarray(eight[:, :, :3])),
        alpha=Image.fromarray(np.ascontiguousarray(eight[:, :, 3])) if has_alpha else None,
        icc_profile=None,
        rgb_16=np.ascontiguousarray(pixels[:, :, :3]) if deep else None,
        alpha_16=np.ascontiguousarray(pixels[:, :, 3]) if deep and has_alpha else None,
    )
