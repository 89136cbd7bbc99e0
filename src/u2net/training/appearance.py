"""Variations of colours and quality, for pictures alone.

Pictures are float32 (B, 3, H, W), 0 to 255, and may leave that range by a little; `rngs` has a generator for each, from
which its random numbers are drawn, on the CPU. Only the grain of noise is drawn for all at once, where they lie.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.nn import functional as F

from u2net.training.framing import choose_kernel
from u2net.training.sampling import Taps, along_columns, along_rows, gaussian, resizing, to_device

Rngs = Sequence[Generator]

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF 1.02
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def lose_resolution(images: Tensor, rngs: Rngs) -> Tensor:
    """Shrink by up to 2.5 and enlarge again, as in thumbnails and screenshots."""
    kernels, sides = [], []
    for rng in rngs:
        factor = rng.uniform(1, 2.5)
        smaller = choose_kernel(rng)
        kernels.append((smaller, "aliased bicubic" if rng.random() < 0.5 else "aliased"))
        sides.append([max(1, round(length / factor)) for length in images.shape[2:]])
    whole = [side for _ in rngs for side in images.shape[2:]]
    small = [side for pair in sides for side in pair]
    shrinking, enlarging = ([name for pair in kernels for name in [pair[step]] * 2] for step in (0, 1))
    steps = (
        resizing(shrinking, whole, small, max(small), images.device),
        resizing(enlarging, small, whole, max(whole), images.device),
    )
    rows, columns = (
        [Taps(*(part[axis::2, : images.shape[2 + axis]] for part in taps)) for taps in steps] for axis in (0, 1)
    )
    return along_columns(along_rows(images, *rows), *columns)


def shift_colours(images: Tensor, rngs: Rngs) -> Tensor:
    """Brightness, contrast, saturation, hue and white balance, each by a little, as one matrix."""
    changes = []
    for rng in rngs:
        brightness, contrast = rng.uniform(-35, 35), rng.uniform(0.7, 1.3)
        saturation, hue = rng.uniform(0.5, 1.5), math.radians(rng.uniform(-12, 12))
        grey = np.tile(_TO_YCC[0], (3, 1))
        # Hue turns about the axis of greys (Rodrigues' formula).
        third, cross = 1 / 3, 1 / math.sqrt(3)
        across = np.array([[0, -cross, cross], [cross, 0, -cross], [-cross, cross, 0]])
        turn = math.cos(hue) * np.eye(3) + (1 - math.cos(hue)) * third + math.sin(hue) * across
        saturate = grey + saturation * (np.eye(3) - grey)
        balance = np.diag(rng.uniform(0.9, 1.1, 3))
        middle = np.full((3, 1), 127.5 * (1 - contrast) + brightness)
        changes.append(np.hstack([contrast * balance @ saturate @ turn, middle]))
    numbers = to_device(changes, images.device)
    return _mixed(images, numbers[..., :3]).add_(numbers[..., 3:, None])


def drop_colours(images: Tensor, rngs: Rngs) -> Tensor:
    """Black and white, as through a colour filter."""
    shares = [rng.dirichlet((3, 6, 1)) for rng in rngs]  # on average about as bright as they look
    return _mixed(images, to_device(shares, images.device)[:, None]).expand_as(images).contiguous()


def bend_levels(images: Tensor, rngs: Rngs) -> Tensor:
    """Gamma of 0.6 to 1.6: darker or lighter between black and white."""
    gammas = [math.exp(rng.uniform(math.log(0.6), math.log(1.6))) for rng in rngs]
    return (images.clamp(0, 255) / 255).pow_(to_device(gammas, images.device)[:, None, None, None]).mul_(255)


def blur(images: Tensor, rngs: Rngs) -> Tensor:
    """Gaussian, of 0.4 to 2 pixels."""
    return blurred(images, [rng.uniform(0.4, 2) for rng in rngs])


def blurred(images: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Gaussian blur with a standard deviation each in pixels, cut off at three of them; the edge repeats."""
    rows, columns = gaussian(sigmas, (images.shape[2], images.shape[3]), images.device)
    return along_columns(along_rows(images, rows), columns)


def add_noise(images: Tensor, rngs: Rngs) -> Tensor:
    """Gaussian noise of 1 to 12 levels; half of the time the same in all channels."""
    deviations, channels, seeds, num = [], [], [], 0
    for rng in rngs:
        deviations.append(rng.uniform(1, 12))
        is_grey = rng.random() < 0.5
        channels.append([num, num, num] if is_grey else [num, num + 1, num + 2])
        num = channels[-1][-1] + 1
        seeds.append(int(rng.integers(2**63)))
    grain = torch.Generator(images.device).manual_seed(seeds[0])
    noise = torch.randn((num, *images.shape[2:]), generator=grain, device=images.device)
    noise = noise[to_device(channels, images.device, np.int64)]
    return torch.addcmul(images, noise, to_device(deviations, images.device)[:, None, None, None])


def compress(images: Tensor, rngs: Rngs) -> Tensor:
    """The loss of a JPEG file at a quality of 30 to 95."""
    return compressed(images, [int(rng.integers(30, 96)) for rng in rngs])


def compressed(images: Tensor, qualities: Sequence[int]) -> Tensor:
    """Pictures as they come out of JPEG files of these qualities, 1 to 100, computed on the pictures' device.

    ITU-T T.81, with chroma at half resolution.
    """
    height, width = images.shape[2:]
    images = F.pad(images, (0, -width % 16, 0, -height % 16), "replicate")
    steps = to_device([_tables(quality) for quality in qualities], images.device)
    to_ycc, to_rgb, dct = _constants(images.device)
    ycc = _mixed(images, to_ycc)
    luma = _quantised(ycc[:, :1] - 128, steps[:, :1], dct) + 128
    halved = _quantised(F.avg_pool2d(ycc[:, 1:], 2), steps[:, 1:], dct)
    doubled = F.interpolate(halved, scale_factor=2, mode="bilinear")  # libjpeg's triangle filter
    rgb = _mixed(torch.cat([luma, doubled], 1), to_rgb)
    return rgb[..., :height, :width].contiguous()


def _quantised(channels: Tensor, tables: Tensor, dct: Tensor) -> Tensor:
    """Channels (B, C, H, W) with the frequencies of each block of 8 by 8 rounded to steps, (B, 1, 8, 8)."""
    tables = tables[:, :, None].tile(channels.shape[3] // 8)
    frequencies = _along_blocks(channels, dct)
    frequencies = (frequencies / tables).round_().mul_(tables)
    return _along_blocks(frequencies, dct.T).view_as(channels)


def _along_blocks(channels: Tensor, matrix: Tensor) -> Tensor:
    """A matrix (8, 8) applied to the rows and columns of each block: (B, C, H / 8, 8, W)."""
    width = channels.shape[-1]
    rows = channels.reshape(-1, 8) @ matrix.T
    return matrix @ rows.view(*channels.shape[:2], -1, 8, width)


def _mixed(images: Tensor, matrix: Tensor) -> Tensor:
    """Channels mixed by a matrix (C, 3) for all pictures, or by one each (B, C, 3)."""
    mixed = matrix.expand(len(images), -1, -1) @ images.flatten(2)
    return mixed.view(*mixed.shape[:2], *images.shape[2:])


@cache
def _tables(quality: int) -> NDArray[np.float32]:
    """Steps of the frequencies of luma and chroma at a quality, (2, 8, 8): those that Pillow writes into files."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    file.seek(0)
    steps = JpegImageFile(file).quantization
    return np.array([steps[0], steps[1]], dtype=np.float32).reshape(2, 8, 8)


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """To YCbCr, to RGB, and the cosines of each frequency, one per row, (8, 8): an orthogonal matrix."""
    cosines = np.array([[math.cos((2 * x + 1) * u * math.pi / 16) for x in range(8)] for u in range(8)]) / 2
    cosines[0] /= math.sqrt(2)
    return to_device(_TO_YCC, device), to_device(_TO_RGB, device), to_device(cosines, device)
