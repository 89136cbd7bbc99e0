"""Trained models that say in the masks' place what is the subject: knowledge distillation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from u2net.errors import InvalidModel
from u2net.net.checkpoint import load_checkpoint
from u2net.net.model import U2Net
from u2net.training.config import TrainConfig
from u2net.training.levels import lower_levels
from u2net.training.norms import has_folded_norms
from u2net.zoo import resolve


class Teachers(nn.Module):
    """Several models as one map.

    They see what the student sees, fed as the student is (Beyer et al., Knowledge distillation: A good teacher is
    patient and consistent, CVPR 2022); every second one sees it mirrored, so that a model named twice is averaged with
    its own mirror image. Means are of logits.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.networks = nn.ModuleList(_load(name) for name in config.teachers)
        if config.channels_last:
            self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Their masks, float32 (B, 1, H, W), 0 to 255, of what the student sees, (B, 3, H, W)."""
        logits = pixels.new_zeros((len(pixels), 1, *pixels.shape[2:]))
        for index, network in enumerate(self.networks):
            seen = network(pixels.flip(3))[0].flip(3) if index % 2 else network(pixels)[0]
            logits += seen.float() / len(self.networks)
        return 255 * torch.sigmoid(logits)


def _load(name: str) -> U2Net:
    """A model by name or file. Raises what `load_checkpoint` and `resolve` do, and InvalidModel if it has classes."""
    network = load_checkpoint(resolve(name)).network
    if network.num_classes != 1:
        raise InvalidModel(f"{name} knows {network.num_classes} classes; teachers know background and subject")
    if has_folded_norms(network):
        lower_levels(network)  # bf16 would lose some of what they say
    return network
