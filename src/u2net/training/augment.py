"""How a pair is varied before the network sees it: which variations, how often, and those of geometry.

Pictures are float32 (3, H, W), 0 to 255; masks uint8 (1, H, W), grey or indices. Sizes may change. To add a variation,
write one function here or in appearance.py and give it a row in one of the tables at the end. Draw all its numbers from
`rng`, on the CPU, so that they are the same for every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from u2net.training import appearance
from u2net.training.config import Augmentation

Box = tuple[int, int, int, int]
"""Top, left, height and width."""


def augment(
    image: Tensor,
    mask: Tensor,
    kind: Augmentation,
    crop: int,
    rng: Generator,
    classes: bool = False,
    anywhere: bool = False,
) -> tuple[Tensor, Tensor]:
    """A variation of a picture, uint8 (3, H, W), and its mask, uint8 (1, H, W): both `crop` pixels high and wide.

    "none" takes the middle. "paper" flips left to right and top to bottom, each every other time, and crops anywhere
    (section 4.3). "modern" mirrors; sometimes leaves the subject out or adds a border; crops around the subject at
    another aspect, sometimes turned by up to 10°, and resizes with one of several kernels; then it varies colours and
    quality, so that weights do not depend on one camera and one resize. Soft masks stay soft; those of `classes` are
    never interpolated. With `anywhere` crops need not contain the subject.

    Tensors may be on any device. `rng` decides everything; devices differ in rounding, and in the grain of noise.
    """
    if kind == "none":
        return cut(image, mask, ((image.shape[1] - crop) // 2, (image.shape[2] - crop) // 2, crop, crop))
    if kind == "paper":
        return _paper(image, mask, crop, rng)
    return _modern(image, mask, crop, rng, classes, anywhere)


def _paper(image: Tensor, mask: Tensor, crop: int, rng: Generator) -> tuple[Tensor, Tensor]:
    flipped = [axis for axis in (1, 2) if rng.random() < 0.5]
    top, left = (int(rng.integers(length - crop + 1)) for length in image.shape[1:])
    image, mask = cut(image, mask, (top, left, crop, crop))
    return image.flip(flipped), mask.flip(flipped)


def _modern(
    image: Tensor, mask: Tensor, crop: int, rng: Generator, classes: bool, anywhere: bool
) -> tuple[Tensor, Tensor]:
    image = image.float()
    for chance, vary in _GEOMETRY:
        if rng.random() < chance:
            image, mask = vary(image, mask, rng)
    image, mask = cut_to_size(image, mask, crop, rng, classes, anywhere)
    for chance, change in _APPEARANCE:
        if rng.random() < chance:
            image = change(image, rng).clamp_(0, 255)
    return image.round_().clamp_(0, 255).to(torch.uint8), mask


def cut(image: Tensor, mask: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """What is in a box."""
    top, left, height, width = box
    rows, columns = slice(top, top + height), slice(left, left + width)
    return image[:, rows, columns], mask[:, rows, columns]


def mirror(image: Tensor, mask: Tensor, _rng: Generator) -> tuple[Tensor, Tensor]:
    """Left to right."""
    return image.flip(2), mask.flip(2)


def leave_subject_out(image: Tensor, mask: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """A strip along a side without the subject, if there is one of a third of the picture or more.

    Users' pictures may have no subject; data sets have few such pictures.
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
    return cut(image, mask, strips[rng.integers(len(strips))]) if strips else (image, mask)


def make_up_background(image: Tensor, mask: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Instead of the picture, one without a subject: one colour, a gradient, or clouds."""
    cells = int(rng.choice([1, 2, 5]))  # one is a colour, two a gradient, five are clouds
    corners = torch.tensor(rng.uniform(0, 255, (3, cells, cells)), dtype=torch.float32, device=image.device)
    height, width = image.shape[1:]
    made_up = F.interpolate(corners[None], (height, width), mode="bicubic", align_corners=True)[0]
    return made_up.clamp(0, 255), torch.zeros_like(mask)


def add_border(image: Tensor, mask: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Margins of up to a quarter of a side: of one colour, which is background, or repeating the picture's edge."""
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
    """A part of the picture at another aspect, 3 times in 10 turned by up to 10°, resized to `crop` pixels squared.

    It contains the whole subject, if there is one: a subject cut in two may no longer be what stands out. `anywhere`,
    for truth that is right for any part of a picture, takes 40 to 100 % of the picture.
    """
    subject = mask[0] > 127
    box = _anywhere(mask, rng) if anywhere or not subject.any() else _around(subject, rng)
    if rng.random() < 0.3:
        angle = math.radians(rng.uniform(-10, 10))
        return turned(image, mask, box, angle, crop, classes)
    image, mask = cut(image, mask, box)
    image = appearance.resize(image, (crop, crop), rng)
    if classes:
        return image, F.interpolate(mask[None], (crop, crop), mode="nearest-exact")[0]
    return image, _to_levels(F.interpolate(mask[None].float(), (crop, crop), mode="bilinear", antialias=True)[0])


def _anywhere(mask: Tensor, rng: Generator) -> Box:
    """A box of 40 to 100 % of the picture, 3:4 to 4:3 as wide as it."""
    height, width = mask.shape[1:]
    area, aspect = rng.uniform(0.4, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    h, w = (max(1, round(n * min(1, math.sqrt(area * a)))) for n, a in ((height, 1 / aspect), (width, aspect)))
    return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w


def _around(subject: Tensor, rng: Generator) -> Box:
    """A box around a subject, bool (H, W), with 25 to 100 % of the room on each side."""
    height, width = subject.shape
    (top, bottom), (left, right) = (_first_and_last(subject.any(dim=axis)) for axis in (1, 0))
    above, before, below, behind = rng.uniform(0.25, 1, 4)
    top, left = round(top * (1 - above)), round(left * (1 - before))
    bottom, right = round(bottom + (height - bottom) * below), round(right + (width - right) * behind)
    return top, left, bottom - top, right - left


def _first_and_last(present: Tensor) -> tuple[int, int]:
    """Start and end (exclusive) of the true values of a line."""
    found: list[int] = present.nonzero()[:, 0].tolist()
    return found[0], found[-1] + 1


def turned(image: Tensor, mask: Tensor, box: Box, angle: float, crop: int, classes: bool) -> tuple[Tensor, Tensor]:
    """A box turned about its middle; the picture is mirrored beyond its border."""
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


_GEOMETRY: tuple[tuple[float, Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]], ...] = (
    (0.500, mirror),
    (0.003, leave_subject_out),
    (0.003, make_up_background),
    (0.050, add_border),
)
"""Chance of each for picture and mask, in this order, before they are cut to size."""

_APPEARANCE: tuple[tuple[float, Callable[[Tensor, Generator], Tensor]], ...] = (
    (0.30, appearance.lose_resolution),
    (0.70, appearance.shift_colours),
    (0.08, appearance.drop_colours),
    (0.30, appearance.bend_levels),
    (0.12, appearance.blur),
    (0.15, appearance.add_noise),
    (0.25, appearance.compress),
)
"""Chance of each for the picture alone, in this order, after that."""
