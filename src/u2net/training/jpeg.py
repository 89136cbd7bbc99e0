"""What a picture loses in a JPEG file, as arithmetic on tensors: it runs where the picture is.

ITU-T T.81 with the example tables of its annex K, scaled by quality as libjpeg does, and chroma at half the resolution.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

# fmt: off
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # table K.1
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
)  # table K.2
# fmt: on

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF 1.02
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def compressed(image: Tensor, quality: int) -> Tensor:
    """A picture, float32 (3, H, W), 0 to 255, after it was a JPEG file of this quality, 1 to 100."""
    height, width = image.shape[1:]
    image = F.pad(image[None], (0, -width % 16, 0, -height % 16), "replicate")[0]
    luma, *chroma = _mixed(image, _TO_YCC)
    luma = _quantised(luma[None] - 128, _table(_LUMINANCE, quality, image.device)) + 128
    halved = F.avg_pool2d(torch.stack(chroma), 2)
    halved = _quantised(halved, _table(_CHROMINANCE, quality, image.device))
    doubled = F.interpolate(halved[None], scale_factor=2, mode="bilinear")[0]  # libjpeg's triangle filter
    return _mixed(torch.cat([luma, doubled]), _TO_RGB)[:, :height, :width]


def _quantised(channels: Tensor, table: Tensor) -> Tensor:
    """Channels (C, H, W) after the frequencies of each block of 8 by 8 were rounded to whole steps."""
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
def _table(steps: tuple[int, ...], quality: int, device: torch.device) -> Tensor:
    """Steps of the frequencies, (8, 8), at a quality."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = [min(max((step * percent + 50) // 100, 1), 255) for step in steps]
    return torch.tensor(scaled, dtype=torch.float32, device=device).view(8, 8)


@cache
def _dct(device: torch.device) -> Tensor:
    """The cosines of each frequency, one a row, (8, 8): an orthogonal matrix."""
    rows = [[math.cos((2 * x + 1) * u * math.pi / 16) for x in range(8)] for u in range(8)]
    cosines = torch.tensor(rows, device=device) / 2
    cosines[0] /= math.sqrt(2)
    return cosines
