"""Optimiser, learning rate, frozen parts, and the moving average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from u2net.net.model import U2Net
from u2net.training.config import TrainConfig


def new_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam or AdamW for what is not frozen; weights of convolutions decay, biases and normalisation do not."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    fused = trained[0].device.type in ("cpu", "cuda")
    return kind([group for group in groups if group["params"]], lr=config.lr, betas=(0.9, 0.999), fused=fused)


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """The rate of a step, counted from 0, in a run of `num_steps`: linear warm-up, then constant or half a cosine."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return config.lr
    done = (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps)
    return config.lr * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def freeze(network: nn.Module, parts: tuple[str, ...]) -> None:
    """Exclude parts from training, by name. Raises ValueError for an unknown name, or if nothing is left to train."""
    known = dict(network.named_modules())
    for part in parts:
        if part not in known or not part:
            offered = ", ".join(name for name in known if name.count(".") == 1 and "conv" not in name)
            raise ValueError(f"the network has no part {part!r} to freeze; it has {offered}, sides, fuse")
        known[part].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("freeze leaves nothing to train")


def set_training(network: nn.Module, config: TrainConfig) -> None:
    """Put the network into training mode, except for normalisation that is frozen, alone or with its part."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            config.freeze_norm or not module.weight.requires_grad
        ):
            module.eval()


class Average:
    """An exponential moving average of a network's weights and running statistics; with a decay of 0 a copy.

    The decay is at most `decay`, and early on (1 + step) / (10 + step), to forget the first steps soon.
    """

    def __init__(self, network: U2Net, decay: float) -> None:
        self.network: U2Net = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        ours, theirs = (list(each.state_dict(keep_vars=True).values()) for each in (self.network, network))
        self._pairs = [pair for pair in zip(ours, theirs, strict=True) if pair[0].is_floating_point()]
        self._counters = [pair for pair in zip(ours, theirs, strict=True) if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update with the network as it is after a step, which counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = (list(tensors) for tensors in zip(*self._pairs, strict=True))
        get_ema_multi_avg_fn(decay)(ours, theirs, 0)  # type: ignore[no-untyped-call]
        ours, theirs = (list(tensors) for tensors in zip(*self._counters, strict=True))
        torch._foreach_copy_(ours, theirs)
