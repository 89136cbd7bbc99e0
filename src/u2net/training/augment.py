"""How a pair is varied before the network sees it: which variations, how often, in which order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from numpy.random import Generator
from torch import Tensor

from u2net.training import appearance, geometry
from u2net.training.config import Augmentation

# To add a variation: write one function in geometry.py or appearance.py, and give it a row here. All numbers by which
# one appearance of an example differs from another are drawn from `rng`, on the CPU: the same on every device.

_GEOMETRY: tuple[tuple[float, Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]], ...] = (
    (0.500, geometry.mirror),
    (0.003, geometry.leave_subject_out),
    (0.003, geometry.make_up_background),
    (0.050, geometry.add_border),
)
"""How often each is done to picture and mask, in this order, before they are cut to size."""

_APPEARANCE: tuple[tuple[float, Callable[[Tensor, Generator], Tensor]], ...] = (
    (0.30, appearance.lose_resolution),
    (0.70, appearance.shift_colours),
    (0.08, appearance.drop_colours),
    (0.30, appearance.bend_levels),
    (0.12, appearance.blur),
    (0.15, appearance.add_noise),
    (0.25, appearance.compress),
)
"""How often each is done to the picture alone, in this order, after that."""


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

    "none" takes the middle. "paper" flips left to right and top to bottom, each every other time, and cuts out
    anywhere (section 4.3). "modern" mirrors; now and then leaves the subject out or adds a border; cuts out what is
    around the subject at another aspect, sometimes turned by up to 10°, with one of several kernels; and varies
    colours and quality, since weights else depend on one camera and one resize. Soft masks stay soft; those of
    `classes` are only ever sampled. What is cut out may lie `anywhere`.

    Tensors may lie on any device. `rng` decides everything; devices differ in rounding, and in the grain of noise.
    """
    if kind == "none":
        return geometry.cut(image, mask, (image.shape[1] - crop) // 2, (image.shape[2] - crop) // 2, crop)
    if kind == "paper":
        return _paper(image, mask, crop, rng)
    return _modern(image, mask, crop, rng, classes, anywhere)


def _paper(image: Tensor, mask: Tensor, crop: int, rng: Generator) -> tuple[Tensor, Tensor]:
    flipped = [axis for axis in (1, 2) if rng.random() < 0.5]
    top, left = (int(rng.integers(length - crop + 1)) for length in image.shape[1:])
    image, mask = geometry.cut(image, mask, top, left, crop)
    return image.flip(flipped), mask.flip(flipped)


def _modern(
    image: Tensor, mask: Tensor, crop: int, rng: Generator, classes: bool, anywhere: bool
) -> tuple[Tensor, Tensor]:
    image = image.float()
    for chance, vary in _GEOMETRY:
        if rng.random() < chance:
            image, mask = vary(image, mask, rng)
    image, mask = geometry.cut_to_size(image, mask, crop, rng, classes, anywhere)
    for chance, change in _APPEARANCE:
        if rng.random() < chance:
            image = change(image, rng).clamp_(0, 255)
    return image.round_().clamp_(0, 255).to(torch.uint8), mask
