"""How pairs are varied before the network sees them: which variations, how often, and a batch of them at once.

Of each picture first a frame is drawn, by the functions of framing.py: which part of it is taken, as numbers alone.
Then sampling.py takes these parts of all pictures, and the functions of appearance.py vary those that were chosen. All
work on batches, so that the number of operations does not depend on their size, and none waits for a GPU. To add a
variation, write one function in framing.py or appearance.py and give it a row in one of the tables at the end. Draw its
numbers from each picture's generator, on the CPU, so that they are the same for every device and in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from u2net.training import appearance, framing
from u2net.training.config import Augmentation
from u2net.training.framing import Bounds, Frame, Subject
from u2net.training.sampling import sample, to_device


def augment(
    images: Tensor,
    masks: Tensor,
    kind: Augmentation,
    crop: int,
    rngs: Sequence[Generator],
    subjects: Sequence[Subject] | None = None,
    classes: bool = False,
    anywhere: bool = False,
) -> tuple[Tensor, Tensor]:
    """Variations of pictures, uint8 (B, 3, H, W), and their masks, uint8 (B, 1, H, W), `crop` pixels high and wide.

    "none" takes the middle. "paper" flips left to right and top to bottom, each every other time, and crops anywhere
    (section 4.3). "modern" mirrors; sometimes leaves the subject out or adds a border; crops around the subject at
    another aspect, sometimes turned by up to 10°, and resizes with one of several kernels; then it varies colours and
    quality, so that weights do not depend on one camera and one resize. Soft masks stay soft; those of `classes` are
    never interpolated. With `anywhere` crops need not contain the subject.

    Tensors may be on any device. `rngs`, one for each picture, decide everything; devices differ in rounding, and in
    the grain of noise. `subjects` are what `find_subjects` finds, which waits for a GPU, unless it was done before.
    """
    if kind == "none":
        top, left = ((length - crop) // 2 for length in images.shape[2:])
        return tuple(part[..., top : top + crop, left : left + crop] for part in (images, masks))  # type: ignore[return-value]
    pairs = torch.cat((images, masks), 1)
    if kind == "paper":
        return _paper(pairs, crop, rngs)
    return _modern(pairs, crop, rngs, subjects or find_subjects(masks), classes, anywhere)


def find_subjects(masks: Tensor) -> list[Subject]:
    """Where the subjects of masks, uint8 (B, 1, H, W), are."""
    lines = [masks.amax((1, axis)).cpu().numpy() for axis in (3, 2)]
    return [Subject(*(framing.bounds(pair, above) for above in (0, 127))) for pair in zip(*lines, strict=True)]


def _paper(pairs: Tensor, crop: int, rngs: Sequence[Generator]) -> tuple[Tensor, Tensor]:
    places = []
    for rng in rngs:
        flips = [rng.random() < 0.5 for _ in range(2)]
        starts = [int(rng.integers(length - crop + 1)) for length in pairs.shape[2:]]
        lines = [np.arange(start, start + crop) for start in starts]
        places.append([line[::-1] if flip else line for line, flip in zip(lines, flips, strict=True)])
    rows, columns = to_device(places, pairs.device, np.int64).unbind(1)
    picture, channel = (torch.arange(num, device=pairs.device) for num in pairs.shape[:2])
    place = picture[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None]
    pairs = pairs[place]
    return pairs[:, :3], pairs[:, 3:]


def _modern(
    pairs: Tensor, crop: int, rngs: Sequence[Generator], subjects: Sequence[Subject], classes: bool, anywhere: bool
) -> tuple[Tensor, Tensor]:
    height, width = pairs.shape[2:]
    frames = [draw_frame(rng, (height, width), s, anywhere) for rng, s in zip(rngs, subjects, strict=True)]
    pairs = pairs.float()
    made_up = [number for number, frame in enumerate(frames) if frame.made_up is not None]
    pairs = _vary(pairs, made_up, partial(_new_backgrounds, [frames[number] for number in made_up]))
    pairs = sample(pairs, frames, crop, classes=classes)
    images, masks = pairs[:, :3], pairs[:, 3:]
    for chance, change in _APPEARANCE:
        chosen = [number for number, rng in enumerate(rngs) if rng.random() < chance]
        images = _vary(images, chosen, partial(_changed, change, [rngs[number] for number in chosen]))
    return _to_levels(images), _to_levels(masks)


def _changed(
    change: Callable[[Tensor, Sequence[Generator]], Tensor], rngs: Sequence[Generator], images: Tensor
) -> Tensor:
    return change(images, rngs).clamp_(0, 255)


def _to_levels(values: Tensor) -> Tensor:
    return values.round().clamp_(0, 255).to(torch.uint8)


def draw_frame(rng: Generator, shape: tuple[int, int], subject: Subject, anywhere: bool) -> Frame:
    """What is taken of a picture of this height and width."""
    frame = Frame(Bounds(0, shape[0], 0, shape[1]), subject)
    for chance, vary in _GEOMETRY:
        if rng.random() < chance:
            frame = vary(frame, rng)
    return framing.choose_box(frame, rng, anywhere=anywhere)


def _vary(images: Tensor, chosen: Sequence[int], change: Callable[[Tensor], Tensor]) -> Tensor:
    """The pictures, the chosen ones changed: in place, unless it is all of them."""
    if not chosen:
        return images
    if len(chosen) == len(images):
        return change(images)
    index = to_device(chosen, images.device, np.int64)
    return images.index_copy_(0, index, change(images.index_select(0, index)))


def _new_backgrounds(frames: Sequence[Frame], pairs: Tensor) -> Tensor:
    """The backgrounds that frames make up, with empty masks, as large as the pairs (B, 4, H, W)."""
    cells = [f.made_up for f in frames if f.made_up is not None]
    corners = [np.pad(each, [(0, 1), (0, 5 - len(each[0])), (0, 5 - len(each[0]))]) for each in cells]  # masks are 0
    spread = [[_spread(len(each[0]), length) for length in pairs.shape[2:]] for each in cells]
    rows, columns = (to_device(np.stack(each), pairs.device)[:, None] for each in zip(*spread, strict=True))
    return (rows @ to_device(corners, pairs.device) @ columns.mT).clamp_(0, 255)


@cache
def _spread(cells: int, length: int) -> NDArray[np.float32]:
    """How much of each of `cells` colours a line between them has, (length, 5)."""
    lines = F.interpolate(torch.eye(cells)[None, :, :, None], (length, 1), mode="bicubic", align_corners=True)
    spread: NDArray[np.float32] = F.pad(lines[0, :, :, 0].T, (0, 5 - cells)).numpy()
    return spread


_GEOMETRY: tuple[tuple[float, Callable[[Frame, Generator], Frame]], ...] = (
    (0.500, framing.mirror),
    (0.003, framing.leave_subject_out),
    (0.003, framing.make_up_background),
    (0.050, framing.add_border),
)
"""Chance of each for picture and mask, in this order, before they are cut to size."""

_APPEARANCE: tuple[tuple[float, Callable[[Tensor, Sequence[Generator]], Tensor]], ...] = (
    (0.30, appearance.lose_resolution),
    (0.70, appearance.shift_colours),
    (0.08, appearance.drop_colours),
    (0.30, appearance.bend_levels),
    (0.12, appearance.blur),
    (0.15, appearance.add_noise),
    (0.25, appearance.compress),
)
"""Chance of each for the picture alone, in this order, after that."""
