"""Batch normalisation of loaded weights: folded norms, and channels with a large constant, made ready for training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from u2net.net.constant_channels import find_levels
from u2net.net.model import RSU, ConvBlock, U2Net


def has_folded_norms(network: U2Net) -> bool:
    """Whether every norm does nothing, since it was folded into its convolution, as in files for inference."""
    return all(_is_identity(norm) for norm in _norms(network))


class _FoldedNorm(nn.BatchNorm2d):
    """Returns its input and learns nothing; has the keys of a norm, since files do."""

    def forward(self, x: Tensor) -> Tensor:
        """The input itself."""
        return x


def leave_out_norms(network: U2Net) -> None:
    """Skip norms that do nothing: saves a fifth of a step in bf16 on a CPU."""
    for block in network.modules():
        if isinstance(block, ConvBlock):
            norm = _FoldedNorm(block.norm.num_features).requires_grad_(False)
            norm.load_state_dict(block.norm.state_dict())
            block.norm = norm


@torch.no_grad()
def reopen_norms(network: U2Net, batches: Iterable[Tensor]) -> None:
    """Give folded norms the statistics of `batches`, float32 (B, 3, H, W), without changing the network's function.

    A folded norm does not know the statistics of its input: as soon as it normalises by batch, in training, the
    network's maps are lost. Here each gets the mean and variance of its input, and the standard deviation and mean as
    scale and shift, which undo them.
    """
    norms = _norms(network)
    moments = {norm: torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms}
    num_batches = 0

    def note(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen = args[0].double()
        moments[norm] += torch.stack([seen.mean((0, 2, 3)), seen.square().mean((0, 2, 3))])  # type: ignore[index]

    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    was_training = network.training
    network.eval()
    for batch in batches:
        network(batch)
        num_batches += 1
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, square = moments[norm] / num_batches
        variance = (square - mean.square()).clamp(min=0)
        norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        norm.running_var.copy_(variance)  # type: ignore[union-attr]
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)


def _norms(network: U2Net) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def _is_identity(norm: _BatchNorm) -> bool:
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # type: ignore[operator, arg-type]
    shift = norm.bias - norm.running_mean * gain  # type: ignore[operator]
    # A new norm's gain is less than 1 by half its eps: one that was folded is exact but for rounding.
    return bool(torch.allclose(gain, torch.ones_like(gain), rtol=0, atol=1e-6) and shift.abs().max() < 1e-6)


@torch.no_grad()
def lower_levels(network: U2Net) -> None:
    """Subtract the constant level of channels between two blocks of a decoder, and add it to the next bias.

    In the authors' U²-Net† one such channel is 226 everywhere; taps of the next convolution that add up to a thousand
    cancel it. bfloat16 loses the difference, so that gradients are mostly noise, and a step of Adam moves the sum of
    these taps far more than any other. Inside the picture the network computes the same as before. Along its borders,
    where the level met the padding, it does not: maps change by less than a thousandth on average.

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
    """Name of each block of a decoder whose map goes to one other block alone, the block, and that other block."""
    for name, stage in network.named_modules():
        if isinstance(stage, RSU):
            blocks: nn.ModuleList = stage.decoder
            for level in range(1, len(blocks)):
                yield f"{name}.decoder.{level}", blocks[level], blocks[level - 1]  # type: ignore[misc]
