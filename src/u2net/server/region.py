"""Rectangles in remove.bg's notation: lengths in px or %."""

from __future__ import annotations

import re

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom lie outside."""

_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%)", re.ASCII)


def lengths(text: str) -> list[tuple[float, bool]]:
    """Numbers, each with whether it is a percentage. Raises ValueError for anything else."""
    found = [_LENGTH.fullmatch(part) for part in text.split()]
    parts = [(float(match[1]), match[2] == "%") for match in found if match]
    if not parts or len(parts) < len(found):
        raise ValueError("is not in px or %")
    return parts


def region(text: str, size: tuple[int, int]) -> Box:
    """The rectangle "x1 y1 x2 y2" of a picture of a size. Raises ValueError if it holds no pixel of it."""
    parts = lengths(text)
    if len(parts) != 4:
        raise ValueError("is x1 y1 x2 y2")
    x1, y1, x2, y2 = (
        round(number * whole / 100) if is_percentage else round(number)
        for (number, is_percentage), whole in zip(parts, (*size, *size), strict=True)
    )
    left, right = sorted((min(x1, size[0]), min(x2, size[0])))
    top, bottom = sorted((min(y1, size[1]), min(y2, size[1])))
    if left == right or top == bottom:
        raise ValueError("holds no pixel of the picture")
    return left, top, right, bottom


def margins(text: str, size: tuple[int, int]) -> Box:
    """Left, top, right and bottom margin of a subject of a size, from CSS's one, two or four lengths.

    Raises ValueError for other numbers of them, more than 50 % and more than 500 pixels, which are remove.bg's limits.
    """
    parts = lengths(text)
    if len(parts) not in (1, 2, 4):
        raise ValueError("is one, two or four lengths")
    top, right, bottom, left = parts * (4 // len(parts))
    width, height = size

    def pixels(length: tuple[float, bool], whole: int) -> int:
        number, is_percentage = length
        if number > (50 if is_percentage else 500):
            raise ValueError("is 50% or 500px at most")
        return round(number * whole / 100) if is_percentage else round(number)

    return pixels(left, width), pixels(top, height), pixels(right, width), pixels(bottom, height)
