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
    rows, columns = (mask[0].any(dim=axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    if not rows:
        return image, mask
    strips = [
        (0, 0, rows[0], width),
        (rows[-1] + 1, 0, height - rows[-1] - 1, width),
        (0, 0, height, columns[0]),
        (0, columns[-1] + 1, height, width - columns[-1] - 1),
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


def cut_anywhere(image: Tensor, mask: Tensor, crop: int, rng: Generator, classes: bool) -> tuple[Tensor, Tensor]:
    """A part of 40 to 100 % of the picture, 3:4 to 4:3 as wide as it, in 3 of 10 turned; at `crop` pixels squared."""
    height, width = image.shape[1:]
    area, aspect = rng.uniform(0.4, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    h, w = (max(1, round(n * min(1, math.sqrt(area * a)))) for n, a in ((height, 1 / aspect), (width, aspect)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    if rng.random() < 0.3:
        angle = math.radians(rng.uniform(-10, 10))
        return turned(image, mask, (top, left, h, w), angle, crop, classes)
    image, mask = image[:, top : top + h, left : left + w], mask[:, top : top + h, left : left + w]
    if classes:
        return resize(image, (crop, crop), rng), F.interpolate(mask[None], (crop, crop), mode="nearest-exact")[0]
    soft = F.interpolate(mask[None].float(), (crop, crop), mode="bilinear", antialias=True)[0]
    return resize(image, (crop, crop), rng), _to_levels(soft)


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
