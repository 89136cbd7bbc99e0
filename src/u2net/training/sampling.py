"""Batches of pictures resampled at once, each in its own way, in a number of operations that does not grow with them.

Along rows and columns each line of the result is a weighted sum of a few lines of the picture, its taps. Which lines,
and how much of each, differs from picture to picture; so a mirrored picture, margins, and each kernel are other taps,
and all are summed by one operation: torch's `embedding_bag`, which on a CPU is also several times faster than its
`interpolate`. Pictures are float32 (B, C, H, W), 0 to 255.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from u2net.training.framing import Frame


def to_device(values: ArrayLike, device: torch.device, dtype: Any = np.float32) -> Tensor:
    """Numbers as a tensor on a device, which a GPU fetches when it comes to need them: nobody waits."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, dtype))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class Taps(NamedTuple):
    """The lines that are summed for each line of a result."""

    lines: Tensor
    """Which lines, int64 (…, new lines, taps)."""
    weights: Tensor
    """How much of each, float32 (…, new lines, taps)."""


class _Kernel(NamedTuple):
    near: tuple[float, float, float, float]
    """Coefficients of the powers 0 to 3 of the distance, for distances below 1."""
    far: tuple[float, float, float, float] = (0, 0, 0, 0)
    """The same from 1 on."""
    reach: float = 1
    """To each side, in pixels of the picture; where it is shrunk with anti-aliasing, of the result."""
    antialiased: bool = False
    touched: bool = False
    """Takes all pixels that the new one touches, equally."""
    num: float = math.inf
    """The most pixels that it takes."""


def _cubic(a: float, *, antialiased: bool) -> _Kernel:
    """Keys, Cubic convolution interpolation for digital image processing, 1981."""
    return _Kernel((1, 0, -(a + 3), a + 2), (-4 * a, 8 * a, -5 * a, a), 2, antialiased)


_KERNELS = {
    "nearest": _Kernel((1, 0, 0, 0), reach=0.5, num=1),
    "aliased": _Kernel((1, -1, 0, 0)),
    "bilinear": _Kernel((1, -1, 0, 0), antialiased=True),
    "bicubic": _cubic(-0.5, antialiased=True),
    "aliased bicubic": _cubic(-0.75, antialiased=False),
    "area": _Kernel((1, 0, 0, 0), (1, 0, 0, 0), touched=True),
}
"""As torch's `interpolate` has them: "nearest-exact", then those of framing.py and "bicubic" without `antialias`."""


def resizing(
    kernels: Sequence[str], lengths: Sequence[int], new_lengths: Sequence[int], num: int, device: torch.device
) -> Taps:
    """The first `num` new lines of several resizes, each by a kernel from a length to another: (N, num, taps).

    As `interpolate` does it, except that an aliased cubic does not repeat the edge. Lines from the new length on mean
    nothing.
    """
    rows, num_taps = [], 1
    for name, length, new_length in zip(kernels, lengths, new_lengths, strict=True):
        kernel, scale = _KERNELS[name], length / new_length
        stretch = max(scale, 1) if kernel.antialiased else 1
        reach = (scale + 1) / 2 if kernel.touched else kernel.reach * stretch
        # A pixel of which only the edge is touched is not: the next is further off by far more than rounding.
        within = math.inf if kernel.num == 1 else reach - 1e-3 * kernel.touched
        first = scale / 2 - 0.5, 1 - reach
        rows.append((scale, *first, 1 / stretch, within, kernel.num, length - 1, *kernel.near, *kernel.far))
        num_taps = max(num_taps, math.ceil(2 * reach))
    numbers = to_device(rows, device).T[..., None, None]
    scale_, middle, before, shrunk, within_, most, last, a0, a1, a2, a3, b0, b1, b2, b3 = numbers
    taps = torch.arange(num_taps, device=device)
    centre = torch.addcmul(middle, scale_, torch.arange(float(num), device=device)[:, None])
    index = torch.floor(centre + before) + taps
    away = (index - centre).abs()
    x = away * shrunk
    near = torch.addcmul(a0, torch.addcmul(a1, torch.addcmul(a2, a3, x), x), x)
    far = torch.addcmul(b0, torch.addcmul(b1, torch.addcmul(b2, b3, x), x), x)
    lines = index.clamp(min=0).minimum(last)
    taken = (away < within_) & (taps < most) & (index == lines)
    weights = torch.where(x < 1, near, far) * taken
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)
    return Taps(lines.long(), weights)


def gaussian(sigmas: Sequence[float], shape: tuple[int, int], device: torch.device) -> tuple[Taps, Taps]:
    """Gaussian means around rows and columns, (N, lines, taps), cut off at three deviations; the edge repeats."""
    radius = max(math.ceil(3 * sigma) for sigma in sigmas)
    offsets, deviations = np.arange(-radius, radius + 1), np.asarray(sigmas)[:, None]
    shares = np.exp(-0.5 * (offsets / deviations) ** 2) * (abs(offsets) <= np.ceil(3 * deviations))
    weights = to_device(shares / shares.sum(1, keepdims=True), device)[:, None]
    around = torch.arange(-radius, radius + 1, device=device)
    rows, columns = (
        Taps(
            (torch.arange(num, device=device)[:, None] + around).clamp(0, num - 1).expand(len(sigmas), -1, -1),
            weights.expand(-1, num, -1),
        )
        for num in shape
    )
    return rows, columns


def along_rows(images: Tensor, *steps: Taps) -> Tensor:
    """Rows of pictures (B, C, H, W) summed by taps (B, lines, taps) or (B, C, lines, taps), one after the other."""
    for taps in steps:
        num, channels, height, width = images.shape
        index, weights = (part if part.ndim == 4 else part[:, None] for part in taps)
        first = torch.arange(0, num * channels * height, height, device=images.device).view(num, channels, 1, 1)
        lines = (index + first).flatten(0, 2)
        weights = weights.expand(num, channels, -1, -1).reshape(lines.shape)
        summed = F.embedding_bag(lines, images.reshape(-1, width), per_sample_weights=weights, mode="sum")
        images = summed.view(num, channels, -1, width)
    return images


def along_columns(images: Tensor, *steps: Taps) -> Tensor:
    """The same for columns."""
    return along_rows(images.mT.contiguous(), *steps).mT.contiguous()


class _Side(NamedTuple):
    """One axis of a frame, in lines of the region, which begin with 0."""

    length: int
    """Of the box."""
    start: int
    """Of the box."""
    low: float
    """Lines before it have the margins' colour."""
    high: float
    """So have lines from it on."""
    size: int
    """Lines of the region."""
    base: int
    """Line 0, in the picture."""
    sign: int
    """-1 if lines of the picture are counted backwards."""
    margin: int
    """Lines before the region."""
    extent: int
    """Lines of the region with its margins."""


def _sides(frame: Frame, height: int, width: int) -> tuple[_Side, _Side]:
    """Rows and columns."""
    found = []
    for axis, (is_mirrored, num) in enumerate([(False, height), (frame.mirrored, width)]):
        (first, end), (before, _), (start, stop) = (
            part[2 * axis : 2 * axis + 2] for part in (frame.region, frame.margins, frame.box)
        )
        size = end - first
        low, high = (-math.inf, math.inf) if frame.colour is None else (0, size)
        base, sign = (num - 1 - first, -1) if is_mirrored else (first, 1)
        found.append(_Side(stop - start, start - before, low, high, size, base, sign, before, frame.shape[axis]))
    return found[0], found[1]


def sample(pairs: Tensor, frames: Sequence[Frame], crop: int, *, classes: bool) -> Tensor:
    """What a frame takes of each picture and its mask (B, 4, H, W): (B, 4, crop, crop).

    Pictures by the kernels of the frames; grey masks by an anti-aliased triangle, indices of `classes` by the nearest
    pixel. Those that are turned are not anti-aliased, and mirrored beyond their border.
    """
    sampled: Tensor | None = None
    for is_turned, take in ((False, _resized), (True, _turned)):
        chosen = [number for number, frame in enumerate(frames) if (frame.kernel is None) is is_turned]
        if len(chosen) == len(frames):
            return take(pairs, frames, crop, classes)
        if chosen:
            index = to_device(chosen, pairs.device, np.int64)
            taken = take(pairs.index_select(0, index), [frames[number] for number in chosen], crop, classes)
            sampled = pairs.new_empty((*pairs.shape[:2], crop, crop)) if sampled is None else sampled
            sampled.index_copy_(0, index, taken)
    assert sampled is not None
    return sampled


def _resized(pairs: Tensor, frames: Sequence[Frame], crop: int, classes: bool) -> Tensor:
    device, shape = pairs.device, (len(frames), 2, 2)
    sides = [side for frame in frames for side in _sides(frame, *pairs.shape[2:])]
    # A resize for rows and one for columns, of the picture and of its mask.
    kernels = [name for f in frames for name in (f.kernel or "", "nearest" if classes else "bilinear") * 2]
    lengths = [side.length for side in sides for _ in range(2)]
    index, weights = resizing(kernels, lengths, [crop] * len(lengths), crop, device)
    start, low, high, size, base, sign = to_device(sides, device)[:, 1:7].T.reshape(6, len(frames), 2, 1, 1, 1)
    place = index.view(*shape, crop, -1) + start
    weights = weights.view_as(place) * ((place >= low) & (place < high))
    index = (base + sign * place.clamp(min=0).minimum(size - 1)).long()
    channels = torch.arange(4, device=device) // 3  # 0 for the picture, 1 for the mask
    index, weights = index[:, :, channels], weights[:, :, channels]
    rows, columns = (Taps(index[:, axis], weights[:, axis]) for axis in (0, 1))
    sampled = along_columns(along_rows(pairs, rows), columns)

    def inside(chosen: Tensor) -> Tensor:
        down, across = (taps.weights[chosen].sum(-1) for taps in (rows, columns))
        return down[..., None] * across[..., None, :]

    return _with_margins(sampled, frames, inside)


def _turned(pairs: Tensor, frames: Sequence[Frame], crop: int, classes: bool) -> Tensor:
    numbers: list[list[tuple[float, ...]]] = [[], []]  # of rows and of columns
    for frame in frames:
        cos, sin = math.cos(frame.angle), math.sin(frame.angle)
        sides = _sides(frame, *pairs.shape[2:])
        height, width = (side.length / crop for side in sides)
        steps = (cos * height, sin * width), (-sin * height, cos * width)
        for side, step, whole, found in zip(sides, steps, pairs.shape[2:], numbers, strict=True):
            middle = side.start + side.margin + side.length / 2
            to_grid = 2 * side.sign / whole, (2 * side.base + 1) / whole - 1  # which is from -1 to 1
            found.append((*step, middle, side.extent, 2 * side.extent, side.margin, side.size, *to_grid))
    down, right, middle_, extent, double, margin, size, scale, shift = to_device(
        np.moveaxis(np.array(numbers), 2, 0), pairs.device
    )[..., None, None]  # (2, B, 1, 1)
    across = torch.arange((1 - crop) / 2, crop / 2, device=pairs.device)
    place = torch.addcmul(middle_ + right * across, down, across[:, None])  # (2, B, crop, crop)
    place = extent - (extent - place.remainder(double)).abs()
    place = (place - 0.5).clamp(min=0).minimum(extent - 1) - margin
    nearest = place.clamp(min=0).minimum(size - 1)
    grid = torch.addcmul(shift, scale, nearest).flip(0).movedim(0, -1)  # columns before rows
    sampled = F.grid_sample(pairs, grid, "bilinear", "border", align_corners=False)
    if classes:
        sampled[:, 3:] = F.grid_sample(pairs[:, 3:], grid, "nearest", "border", align_corners=False)

    def inside(chosen: Tensor) -> Tensor:
        beyond = (place[:, chosen] - nearest[:, chosen]).abs()
        share = (1 - beyond).clamp(min=0).prod(0)[:, None].expand(-1, 4, -1, -1)
        return torch.cat((share[:, :3], (beyond.amax(0) < 0.5)[:, None]), 1) if classes else share

    return _with_margins(sampled, frames, inside)


def _with_margins(sampled: Tensor, frames: Sequence[Frame], inside: Callable[[Tensor], Tensor]) -> Tensor:
    """Pictures and masks with the colour of their margins where they are not `inside`, 0 to 1; masks have 0 there."""
    chosen = [number for number, frame in enumerate(frames) if frame.colour is not None]
    if chosen:
        index = to_device(chosen, sampled.device, np.int64)
        colours = to_device([(*(frames[number].colour or ()), 0) for number in chosen], sampled.device)
        share = inside(index)
        sampled.index_copy_(0, index, torch.lerp(colours[..., None, None], sampled[index], share))
    return sampled
