"""Trained models that say in the masks' place what is the subject: knowledge distillation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from u2net.errors import InvalidModel
from u2net.models.zoo import resolve
from u2net.net.checkpoint import load_checkpoint
from u2net.net.model import U2Net
from u2net.training.config import Look, TrainConfig
from u2net.training.levels import lower_levels
from u2net.training.norms import has_folded_norms, leave_out_norms


class _View(NamedTuple):
    """What a look makes of pixels (B, C, H, W), before the network and, of its map, after."""

    flipped: tuple[int, ...] = ()
    """Axes that run backwards."""
    scale: float = 1.0
    """Of height and width."""


_VIEWS: dict[Look, _View] = {
    "plain": _View(),
    "mirrored": _View((3,)),
    "upside-down": _View((2,)),
    "smaller": _View(scale=0.8),
    "smaller-mirrored": _View((3,), 0.8),
}


class Teachers(nn.Module):
    """Several models as one map.

    They see what the student sees, fed as the student is (Beyer et al., Knowledge distillation: A good teacher is
    patient and consistent, CVPR 2022), each by the next of the configuration's `looks`, so that a model that is named
    several times is averaged over these. Means are of logits.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        networks = {name: _load(name) for name in config.teachers}
        self.networks = nn.ModuleList(networks[name] for name in config.teachers)
        self.views = [_VIEWS[config.looks[index % len(config.looks)]] for index in range(len(config.teachers))]
        if config.channels_last:
            self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Their masks, float32 (B, 1, H, W), 0 to 255, of what the student sees, (B, 3, H, W)."""
        logits = pixels.new_zeros((len(pixels), 1, *pixels.shape[2:]))
        for network, view in zip(self.networks, self.views, strict=True):
            logits += _look(network, view, pixels) / len(self.networks)
        return 255 * torch.sigmoid(logits)


def _look(network: nn.Module, view: _View, pixels: Tensor) -> Tensor:
    """The fused logits of one look at pixels, float32 (B, 1, H, W)."""
    seen = pixels.flip(view.flipped)
    if view.scale != 1:
        shape = [max(1, round(length * view.scale)) for length in pixels.shape[2:]]
        seen = F.interpolate(seen, shape, mode="bilinear", antialias=True)
    logits: Tensor = network(seen)[0].float()
    if view.scale != 1:
        logits = F.interpolate(logits, pixels.shape[2:], mode="bicubic")
    return logits.flip(view.flipped)


def _load(name: str) -> U2Net:
    """A model by name or file. Raises what `load_checkpoint` and `resolve` do, and InvalidModel if it has classes."""
    network = load_checkpoint(resolve(name)).network
    if network.num_classes != 1:
        raise InvalidModel(f"{name} knows {network.num_classes} classes; teachers know background and subject")
    if has_folded_norms(network):
        lower_levels(network)  # bf16 would lose some of what they say
        leave_out_norms(network)
    return network
