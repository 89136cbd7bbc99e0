"""Variations of colours and quality, for the picture alone.

Pictures are float32 (3, H, W), 0 to 255, and may leave that range by a little. Every random number is drawn from the
generator `rng`, except for the grain of noise, whose seed is.
"""

from __future__ import annotations

import io
import math
from functools import cache

import torch
from numpy.random import Generator
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor
from torch.nn import functional as F

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF 1.02
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def resize(image: Tensor, shape: tuple[int, int], rng: Generator) -> Tensor:
    """Resize to (height, width) with one of several common kernels, so that the network does not rely on one."""
    kernel = rng.choice(["aliased", "bilinear", "bicubic", "area"], p=[0.3, 0.35, 0.25, 0.1])
    if kernel == "area":
        return F.interpolate(image[None], shape, mode="area")[0]
    if kernel == "aliased":
        return F.interpolate(image[None], shape, mode="bilinear")[0]
    return F.interpolate(image[None], shape, mode=str(kernel), antialias=True)[0]


def lose_resolution(image: Tensor, rng: Generator) -> Tensor:
    """Shrink by up to 2.5 and enlarge again, as in thumbnails and screenshots."""
    height, width = image.shape[1:]
    factor = rng.uniform(1, 2.5)
    small = resize(image, (max(1, round(height / factor)), max(1, round(width / factor))), rng)
    return F.interpolate(small[None], (height, width), mode="bicubic" if rng.random() < 0.5 else "bilinear")[0]


def shift_colours(image: Tensor, rng: Generator) -> Tensor:
    """Brightness, contrast, saturation, hue and white balance, each by a little, as one matrix."""
    brightness, contrast = rng.uniform(-35, 35), rng.uniform(0.7, 1.3)
    saturation, hue = rng.uniform(0.5, 1.5), math.radians(rng.uniform(-12, 12))
    grey = torch.tensor(_TO_YCC[0]).expand(3, 3)
    # Hue turns about the axis of greys (Rodrigues' formula).
    third, cross = 1 / 3, 1 / math.sqrt(3)
    across = torch.tensor([[0, -cross, cross], [cross, 0, -cross], [-cross, cross, 0]])
    turn = math.cos(hue) * torch.eye(3) + (1 - math.cos(hue)) * third + math.sin(hue) * across
    saturate = grey + saturation * (torch.eye(3) - grey)
    balance = torch.diag(torch.tensor(rng.uniform(0.9, 1.1, 3), dtype=torch.float32))
    matrix = (contrast * balance @ saturate @ turn).to(image.device)
    middle = 127.5 * (1 - contrast) + brightness
    return (matrix @ image.reshape(3, -1)).view_as(image).add_(middle)


def drop_colours(image: Tensor, rng: Generator) -> Tensor:
    """Black and white, as through a colour filter."""
    red, green, blue = rng.dirichlet((3, 6, 1)).tolist()  # on average about as bright as they look
    grey: Tensor = image[0] * red + image[1] * green + image[2] * blue
    return grey.expand_as(image).contiguous()


def bend_levels(image: Tensor, rng: Generator) -> Tensor:
    """Gamma of 0.6 to 1.6: darker or lighter between black and white."""
    gamma = math.exp(rng.uniform(math.log(0.6), math.log(1.6)))
    return (image.clamp(0, 255) / 255).pow_(gamma).mul_(255)


def blur(image: Tensor, rng: Generator) -> Tensor:
    """Gaussian, of 0.4 to 2 pixels."""
    return blurred(image, rng.uniform(0.4, 2))


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with a standard deviation in pixels, cut off at three of them; the edge of the picture repeats."""
    radius = math.ceil(3 * sigma)
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    height, width = image.shape[1:]
    for axis, length, margins in ((1, height, (0, 0, radius, radius)), (2, width, (radius, radius, 0, 0))):
        padded = F.pad(image[None], margins, "replicate")[0]
        image = torch.zeros_like(image)
        for offset, weight in enumerate(weights):  # on CPUs ten times faster than a depthwise convolution
            image.add_(padded.narrow(axis, offset, length), alpha=weight / sum(weights))
    return image


def add_noise(image: Tensor, rng: Generator) -> Tensor:
    """Gaussian noise of 1 to 12 levels; half of the time the same in all channels."""
    deviation, channels = rng.uniform(1, 12), 1 if rng.random() < 0.5 else 3
    grain = torch.Generator(image.device).manual_seed(int(rng.integers(2**63)))
    noise = torch.randn((channels, *image.shape[1:]), generator=grain, device=image.device)
    return torch.add(image, noise, alpha=deviation)


def compress(image: Tensor, rng: Generator) -> Tensor:
    """The loss of a JPEG file at a quality of 30 to 95."""
    return compressed(image, int(rng.integers(30, 96)))


def compressed(image: Tensor, quality: int) -> Tensor:
    """A picture as it comes out of a JPEG file of this quality, 1 to 100, computed on the picture's device.

    ITU-T T.81, with chroma at half resolution.
    """
    height, width = image.shape[1:]
    image = F.pad(image[None], (0, -width % 16, 0, -height % 16), "replicate")[0]
    luma, *chroma = _mixed(image, _TO_YCC)
    luma_steps, chroma_steps = _tables(quality, image.device)
    luma = _quantised(luma[None] - 128, luma_steps) + 128
    halved = _quantised(F.avg_pool2d(torch.stack(chroma), 2), chroma_steps)
    doubled = F.interpolate(halved[None], scale_factor=2, mode="bilinear")[0]  # libjpeg's triangle filter
    return _mixed(torch.cat([luma, doubled]), _TO_RGB)[:, :height, :width]


def _quantised(channels: Tensor, table: Tensor) -> Tensor:
    """Channels (C, H, W) with the frequencies of each block of 8 by 8 rounded to whole steps."""
    dct = _dct(channels.device)
    table = table.tile(1, channels.shape[2] // 8)
    frequencies = _along_blocks(channels, dct)
    frequencies = (frequencies / table).round_().mul_(table)
    return _along_blocks(frequencies, dct.T).view_as(channels)


def _along_blocks(channels: Tensor, matrix: Tensor) -> Tensor:
    """A matrix (8, 8) applied to the rows and columns of each block: (C, H / 8, 8, W)."""
    width = channels.shape[-1]
    rows = channels.reshape(-1, 8) @ matrix.T
    return matrix @ rows.view(len(channels), -1, 8, width)


def _mixed(image: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return (torch.tensor(matrix, device=image.device) @ image.reshape(3, -1)).view_as(image)


@cache
def _tables(quality: int, device: torch.device) -> Tensor:
    """Steps of the frequencies of luma and chroma at a quality, (2, 8, 8): those that Pillow writes into files."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    file.seek(0)
    steps = JpegImageFile(file).quantization
    return torch.tensor([steps[0], steps[1]], dtype=torch.float32, device=device).view(2, 8, 8)


@cache
def _dct(device: torch.device) -> Tensor:
    """The cosines of each frequency, one per row, (8, 8): an orthogonal matrix."""
    rows = [[math.cos((2 * x + 1) * u * math.pi / 16) for x in range(8)] for u in range(8)]
    cosines = torch.tensor(rows, device=device) / 2
    cosines[0] /= math.sqrt(2)
    return cosines
