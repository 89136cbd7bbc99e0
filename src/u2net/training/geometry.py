"""Variations of where things are: done to picture and mask alike.

Pictures are float32 (3, H, W), 0 to 255; masks uint8 (1, H, W), grey or indices. Sizes may change. Every random number
is drawn from the generator that is given.
"""

from __future__ import annotations

import math

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from u2net.training.appearance import resize


def cut(image: Tensor, mask: Tensor, top: int, left: int, crop: int) -> tuple[Tensor, Tensor]:
    """The square of `crop` pixels whose first row and column are given."""
    rows, columns = slice(top, top + crop), slice(left, left + crop)
    return image[:, rows, columns], mask[:, rows, columns]


def mirror(image: Tensor, mask: Tensor, _rng: Generator) -> tuple[Tensor, Tensor]:
    """Left to right."""
    return image.flip(2), mask.flip(2)


def leave_subject_out(image: Tensor, mask: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """A strip along a side that has nothing of the subject, if there is one of a third of the picture or more.

    There are pictures without a subject, and data sets have few.
    """
    height, width = mask.shape[1:]
    if not mask.any():
        return image, mask
    (top, bottom), (left, right) = (_first_and_last(mask[0].any(dim=axis)) for axis in (1, 0))
    strips = [
        (0, 0, top, width),
        (bottom, 0, height - bottom, width),
        (0, 0, height, left),
        (0, right, height, width - right),
    ]
    strips = [(top, left, h, w) for top, left, h, w in strips if h * w >= height * width / 3]
    if not strips:
        return image, mask
    top, left, h, w = strips[rng.integers(len(strips))]
    return image[:, top : top + h, left : left + w], mask[:, top : top + h, left : left + w]


def make_up_background(image: Tensor, mask: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """In place of the picture, one without a subject: one colour, a gradient, or clouds."""
    cells = int(rng.choice([1, 2, 5]))  # one is a colour, two a gradient, five are clouds
    corners = torch.tensor(rng.uniform(0, 255, (3, cells, cells)), dtype=torch.float32, device=image.device)
    height, width = image.shape[1:]
    made_up = F.interpolate(corners[None], (height, width), mode="bicubic", align_corners=True)[0]
    return made_up.clamp(0, 255), torch.zeros_like(mask)


def add_border(image: Tensor, mask: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Margins of up to a quarter of a side: of one colour, which is background, or going on as the picture ends."""
    height, width = image.shape[1:]
    left, right, top, bottom = (int(rng.integers(n // 4 + 1)) for n in (width, width, height, height))
    margins = (left, right, top, bottom)
    if rng.random() < 0.5:
        return F.pad(image[None], margins, "replicate")[0], F.pad(mask[None].float(), margins, "replicate")[0].byte()
    canvas = image.new_empty((3, height + top + bottom, width + left + right))
    grey = rng.random() < 0.5
    for channel, level in zip(canvas, [rng.uniform(0, 255)] * 3 if grey else rng.uniform(0, 255, 3), strict=True):
        channel.fill_(level)
    canvas[:, top : top + height, left : left + width] = image
    return canvas, F.pad(mask, margins)


def cut_to_size(
    image: Tensor, mask: Tensor, crop: int, rng: Generator, classes: bool, anywhere: bool
) -> tuple[Tensor, Tensor]:
    """A part of the picture at another aspect, in 3 of 10 turned by up to 10°; at `crop` pixels squared.

    Around the subject, where there is one: what is cut through may no longer be what stands out. `anywhere`, which is
    for truth that moves with the cut or that each pixel has by itself, 40 to 100 % of the picture.
    """
    subject = mask[0] > 127
    top, left, h, w = _anywhere(mask, rng) if anywhere or not subject.any() else _around(subject, rng)
    if rng.random() < 0.3:
        angle = math.radians(rng.uniform(-10, 10))
        return turned(image, mask, (top, left, h, w), angle, crop, classes)
    image, mask = image[:, top : top + h, left : left + w], mask[:, top : top + h, left : left + w]
    if classes:
        return resize(image, (crop, crop), rng), F.interpolate(mask[None], (crop, crop), mode="nearest-exact")[0]
    soft = F.interpolate(mask[None].float(), (crop, crop), mode="bilinear", antialias=True)[0]
    return resize(image, (crop, crop), rng), _to_levels(soft)


def _anywhere(mask: Tensor, rng: Generator) -> tuple[int, int, int, int]:
    """A box (top, left, height, width) of 40 to 100 % of the picture, 3:4 to 4:3 as wide as it."""
    height, width = mask.shape[1:]
    area, aspect = rng.uniform(0.4, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    h, w = (max(1, round(n * min(1, math.sqrt(area * a)))) for n, a in ((height, 1 / aspect), (width, aspect)))
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w


def _around(subject: Tensor, rng: Generator) -> tuple[int, int, int, int]:
    """A box (top, left, height, width) that holds a subject, bool (H, W), and of what is beyond it a quarter to all."""
    height, width = subject.shape
    (top, bottom), (left, right) = (_first_and_last(subject.any(dim=axis)) for axis in (1, 0))
    above, before, below, behind = rng.uniform(0.25, 1, 4)
    top, left = round(top * (1 - above)), round(left * (1 - before))
    bottom, right = round(bottom + (height - bottom) * below), round(right + (width - right) * behind)
    return top, left, bottom - top, right - left


def _first_and_last(present: Tensor) -> tuple[int, int]:
    """Of the true values of a line: where they begin and end, the end not being one of them."""
    found: list[int] = present.nonzero()[:, 0].tolist()
    return found[0], found[-1] + 1


def turned(
    image: Tensor, mask: Tensor, box: tuple[int, int, int, int], angle: float, crop: int, classes: bool
) -> tuple[Tensor, Tensor]:
    """A box (top, left, height, width) turned about its middle; what it takes from beyond the picture is mirrored."""
    height, width = image.shape[1:]
    top, left, h, w = box
    cos, sin = math.cos(angle), math.sin(angle)
    # Positions go from -1 to 1 over the box and over the picture.
    x, y = (2 * left + w) / width - 1, (2 * top + h) / height - 1
    matrix = torch.tensor([[cos * w / width, -sin * h / width, x], [sin * w / height, cos * h / height, y]])
    grid = F.affine_grid(matrix[None].to(image.device), [1, 3, crop, crop], align_corners=False)
    kernel = "nearest" if classes else "bilinear"
    turned = F.grid_sample(image[None], grid, "bilinear", "reflection", align_corners=False)[0]
    turned_mask = F.grid_sample(mask[None].float(), grid, kernel, "reflection", align_corners=False)[0]
    return turned, _to_levels(turned_mask)


def _to_levels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
