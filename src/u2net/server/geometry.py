"""remove.bg's geometry: regions, margins, and where in the picture the subject goes.

https://www.remove.bg/api
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from u2net.cutout.compose import subject_box
from u2net.cutout.finish import Box
from u2net.images.picture import Levels
from u2net.server.problems import Problem


@dataclass(frozen=True)
class Place:
    """How large the subject is in the picture, and where."""

    scale: float | None
    """As a part of the picture's size; None leaves the subject as large as it is."""
    position: tuple[float, float] | None
    """Across and down, from 0, left or top, to 1, right or bottom. None leaves its centre, as far as there is room."""

    def put(self, image: Image.Image) -> Image.Image:
        """A cut-out, "RGBA", or a mask, "L", of the same size with its subject in this place."""
        alpha = image.getchannel("A") if image.mode == "RGBA" else image
        box = subject_box(np.asarray(alpha))
        subject = image.crop(box)
        if self.scale is not None:
            factor = self.scale * min(image.width / subject.width, image.height / subject.height)
            width, height = (max(1, round(side * factor)) for side in subject.size)
            # Not Lanczos, whose second lobe would be a faint line around the subject.
            subject = subject.resize((width, height), Image.Resampling.BICUBIC)
        free = image.width - subject.width, image.height - subject.height
        if self.position is None:
            own = (box[0] + box[2] - subject.width) // 2, (box[1] + box[3] - subject.height) // 2
            left, top = (min(max(0, start), most) for start, most in zip(own, free, strict=True))
        else:
            left, top = (round(part * most) for part, most in zip(self.position, free, strict=True))
        canvas = Image.new(image.mode, image.size)
        canvas.paste(subject, (left, top))
        return canvas


def place(scale: str, position: str | None) -> Place | None:
    """What `scale` and `position` ask for; None for the subject as it is. Raises Problem for what they cannot be.

    A scale without a position puts the subject into the centre.
    """
    size = None if scale == "original" else _parts("scale", scale, 10, 1)[0]
    position = position or ("original" if size is None else "center")
    where = None if position == "original" else _parts("position", "50%" if position == "center" else position, 0, 2)
    if size is None and where is None:
        return None
    return Place(size, None if where is None else (where[0], where[-1]))


def _parts(field: str, text: str, least: int, most_numbers: int) -> list[float]:
    """The percentages in a field, as parts of 1. Raises Problem."""
    found = _lengths(field, text)
    if len(found) > most_numbers or not all(
        (is_percentage or number == 0) and least <= number <= 100 for number, is_percentage in found
    ):
        words = "original, center, or one or two values" if most_numbers == 2 else "original, or a value"
        raise Problem(400, f"{field} is {words} from {least}% to 100%")
    return [number / 100 for number, _ in found]


_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%)", re.ASCII)


def _lengths(field: str, text: str) -> list[tuple[float, bool]]:
    """The numbers in a field, each with whether it is a percentage. Raises Problem for anything else."""
    found = [_LENGTH.fullmatch("0px" if part == "0" else part) for part in text.split()]
    parts = [(float(match[1]), match[2] == "%") for match in found if match]
    if not parts or len(parts) < len(found):
        raise Problem(400, f"{field} is not in px or %")
    return parts


def _pixels(length: tuple[float, bool], whole: int) -> int:
    number, is_percentage = length
    return round(number * whole / 100) if is_percentage else round(number)


def region(text: str, size: tuple[int, int]) -> Box:
    """The rectangle "x1 y1 x2 y2" of a picture of a size. Raises Problem if it holds no pixel of it."""
    parts = _lengths("roi", text)
    if len(parts) != 4:
        raise Problem(400, "roi is x1 y1 x2 y2")
    x1, y1, x2, y2 = (min(_pixels(part, whole), whole) for part, whole in zip(parts, (*size, *size), strict=True))
    left, right = sorted((x1, x2))
    top, bottom = sorted((y1, y2))
    if left == right or top == bottom:
        raise Problem(400, "roi holds no pixel of the picture")
    return left, top, right, bottom


def scaled(box: Box, before: tuple[int, int], after: tuple[int, int]) -> Box:
    """A rectangle of a picture of one size in the same picture of another: all pixels that it touches."""
    (left, top, right, bottom), across, down = box, after[0] / before[0], after[1] / before[1]
    return int(left * across), int(top * down), math.ceil(right * across), math.ceil(bottom * down)


def margins(text: str, size: tuple[int, int]) -> Box:
    """Left, top, right and bottom margin of a subject of a size, from CSS's one, two or four lengths.

    Raises Problem for other numbers of them, more than 50 % and more than 500 pixels, which are remove.bg's limits.
    """
    parts = _lengths("crop_margin", text)
    if len(parts) not in (1, 2, 4):
        raise Problem(400, "crop_margin is one, two or four lengths")
    if any(number > (50 if is_percentage else 500) for number, is_percentage in parts):
        raise Problem(400, "crop_margin is 50% or 500px at most")
    top, right, bottom, left = parts * (4 // len(parts))
    width, height = size
    return _pixels(left, width), _pixels(top, height), _pixels(right, width), _pixels(bottom, height)


def shown_box(margin: str, opacity: Levels) -> Box:
    """All that shows, with a margin in remove.bg's notation, as far as the picture reaches."""
    shown = Image.fromarray(opacity)
    box = shown.getbbox()
    if box is None:
        return 0, 0, *shown.size
    left, top, right, bottom = box
    width, height = shown.size
    before, above, behind, below = margins(margin, (right - left, bottom - top))
    return max(0, left - before), max(0, top - above), min(width, right + behind), min(height, bottom + below)
