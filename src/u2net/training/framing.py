"""Which part of a picture is taken, decided before a pixel is touched: numbers alone, no torch.

A frame is drawn for each picture by itself; then sampling.py samples a whole batch at once. Nothing here reads pixels:
where the subject is must be known, so that pictures may lie on a GPU and nobody waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

KERNELS = ("aliased", "bilinear", "bicubic", "area")
"""How pictures are resized: as torch does it without anti-aliasing, with it, and by the mean of the pixels touched."""


class Bounds(NamedTuple):
    """A part of a picture, in whole pixels; ends are exclusive."""

    top: int
    bottom: int
    left: int
    right: int


class Subject(NamedTuple):
    """Where the subject of a mask is; None if it has none."""

    faint: Bounds | None
    """The pixels above 0."""
    clear: Bounds | None
    """The pixels above 127."""


def bounds(lines: Sequence[NDArray[np.uint8]], above: int) -> Bounds | None:
    """Where the highest values of a mask's rows (H,) and columns (W,) exceed a level."""
    (top, bottom), (left, right) = (_first_and_last(line > above) for line in lines)
    return Bounds(top, bottom, left, right) if bottom else None


def _first_and_last(present: NDArray[np.bool_]) -> tuple[int, int]:
    """Start and end of the true values of a line; 0 and 0 without any."""
    found = np.flatnonzero(present)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)


@dataclass(frozen=True)
class Frame:
    """What is taken of one picture: a region of it, mirrored or not, with margins, and a box in all this."""

    region: Bounds
    """What is left of the picture, after it was mirrored."""
    subject: Subject
    """Where its subject is, in the region with its margins."""
    mirrored: bool = False
    """Left to right."""
    margins: Bounds = Bounds(0, 0, 0, 0)
    """How far the region is extended above, below, left and right."""
    colour: tuple[float, ...] | None = None
    """Red, green and blue of the margins; None repeats the region's edge."""
    made_up: NDArray[np.float64] | None = field(default=None, compare=False)
    """Colours (3, cells, cells) between which a background goes over that replaces the picture."""
    box: Bounds = Bounds(0, 0, 0, 0)
    """What is taken of the region with its margins."""
    angle: float = 0.0
    """By how much the box is turned about its middle, in radians."""
    kernel: str | None = None
    """One of KERNELS; None if it is turned."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the region with its margins."""
        top, bottom, left, right = self.region
        return bottom - top + self.margins.top + self.margins.bottom, right - left + sum(self.margins[2:])


def mirror(frame: Frame, _rng: Generator) -> Frame:
    """Left to right."""
    width = frame.shape[1]
    faint, clear = (b and b._replace(left=width - b.right, right=width - b.left) for b in frame.subject)
    return replace(frame, mirrored=not frame.mirrored, subject=Subject(faint, clear))


def leave_subject_out(frame: Frame, rng: Generator) -> Frame:
    """A strip along a side without the subject, if there is one of a third of the picture or more.

    Users' pictures may have no subject; data sets have few such pictures.
    """
    if frame.subject.faint is None:
        return frame
    height, width = frame.shape
    top, bottom, left, right = frame.subject.faint
    strips = [
        Bounds(0, top, 0, width),
        Bounds(bottom, height, 0, width),
        Bounds(0, height, 0, left),
        Bounds(0, height, right, width),
    ]
    strips = [strip for strip in strips if _area(strip) >= height * width / 3]
    if not strips:
        return frame
    return replace(frame, region=strips[rng.integers(len(strips))], subject=Subject(None, None))


def make_up_background(frame: Frame, rng: Generator) -> Frame:
    """Instead of the picture, one without a subject: one colour, a gradient, or clouds."""
    cells = int(rng.choice([1, 2, 5]))  # one is a colour, two a gradient, five are clouds
    return replace(frame, made_up=rng.uniform(0, 255, (3, cells, cells)), subject=Subject(None, None))


def add_border(frame: Frame, rng: Generator) -> Frame:
    """Margins of up to a quarter of a side: of one colour, which is background, or repeating the picture's edge."""
    height, width = frame.shape
    left, right, top, bottom = (int(rng.integers(n // 4 + 1)) for n in (width, width, height, height))
    margins, colour = Bounds(top, bottom, left, right), None
    if rng.random() >= 0.5:
        grey = rng.random() < 0.5
        colour = tuple([rng.uniform(0, 255)] * 3 if grey else rng.uniform(0, 255, 3).tolist())
    faint, clear = (b and _bordered(b, margins, frame.shape, repeats=colour is None) for b in frame.subject)
    return replace(frame, margins=margins, colour=colour, subject=Subject(faint, clear))


def _bordered(subject: Bounds, margins: Bounds, shape: tuple[int, int], *, repeats: bool) -> Bounds:
    """Where a subject is within margins; if they repeat the edge, one that touches it goes on in them."""
    top, bottom, left, right = subject
    return Bounds(
        top + margins.top if top or not repeats else 0,
        bottom + margins.top + (margins.bottom if repeats and bottom == shape[0] else 0),
        left + margins.left if left or not repeats else 0,
        right + margins.left + (margins.right if repeats and right == shape[1] else 0),
    )


def choose_box(frame: Frame, rng: Generator, *, anywhere: bool) -> Frame:
    """A box at another aspect, 3 times in 10 turned by up to 10°; else resized with one of several kernels.

    It contains the whole subject, if there is one: a subject cut in two may no longer be what stands out. `anywhere`,
    for truth that is right for any part of a picture, takes 40 to 100 % of the picture.
    """
    clear = frame.subject.clear
    box = _anywhere(frame.shape, rng) if anywhere or clear is None else _around(clear, frame.shape, rng)
    if rng.random() < 0.3:
        return replace(frame, box=box, angle=math.radians(rng.uniform(-10, 10)))
    return replace(frame, box=box, kernel=choose_kernel(rng))


def choose_kernel(rng: Generator) -> str:
    """One of several common kernels, so that the network does not rely on one."""
    return str(rng.choice(KERNELS, p=[0.3, 0.35, 0.25, 0.1]))


def _anywhere(shape: tuple[int, int], rng: Generator) -> Bounds:
    """A box of 40 to 100 % of the picture, 3:4 to 4:3 as wide as it."""
    height, width = shape
    area, aspect = rng.uniform(0.4, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    h, w = (max(1, round(n * min(1, math.sqrt(area * a)))) for n, a in ((height, 1 / aspect), (width, aspect)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return Bounds(top, top + h, left, left + w)


def _around(subject: Bounds, shape: tuple[int, int], rng: Generator) -> Bounds:
    """A box around a subject, with 25 to 100 % of the room on each side."""
    height, width = shape
    top, bottom, left, right = subject
    above, before, below, behind = rng.uniform(0.25, 1, 4)
    return Bounds(
        round(top * (1 - above)),
        round(bottom + (height - bottom) * below),
        round(left * (1 - before)),
        round(right + (width - right) * behind),
    )


def _area(part: Bounds) -> int:
    return (part.bottom - part.top) * (part.right - part.left)
