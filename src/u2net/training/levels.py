"""Channels that hold nearly the same large number everywhere, made ready to be trained on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from u2net.net.levels import find_levels
from u2net.net.model import RSU, ConvBlock, U2Net


@torch.no_grad()
def lower_levels(network: U2Net) -> None:
    """Subtract what steady channels between two blocks of a decoder have in common, and add it to the next bias.

    In the authors' U²-Net† one such channel is 226 everywhere; taps of the next convolution that sum up to a thousand
    take it back. bfloat16 loses the difference, so that gradients are largely noise, and a step of Adam moves these
    taps' sums far more than any others. Inside of the picture the network computes the same as before. Along its
    borders, where the level met the padding, it does not: maps change by less than a thousandth in the mean.

    For networks whose norms are folded.
    """
    levels = find_levels(network)
    for name, block, following in _pairs(network):
        if (level := levels.get(name)) is None:
            continue
        block.conv.bias -= level  # type: ignore[operator]
        taps: Tensor = following.conv.weight.sum((2, 3))[:, : len(level)]
        following.conv.bias += taps @ level  # type: ignore[operator]


def _pairs(network: U2Net) -> Iterator[tuple[str, ConvBlock, ConvBlock]]:
    """Each block of a decoder whose map goes to one other block alone, by its name, and that block."""
    for name, stage in network.named_modules():
        if isinstance(stage, RSU):
            blocks: nn.ModuleList = stage.decoder
            for level in range(1, len(blocks)):
                yield f"{name}.decoder.{level}", blocks[level], blocks[level - 1]  # type: ignore[misc]
