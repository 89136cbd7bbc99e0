"""What changes the weights: optimiser, learning rate, frozen parts, and the average that is kept beside them."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from u2net.net.model import U2Net
from u2net.training.config import TrainConfig


def new_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over what is not frozen; weights of convolutions decay, biases and normalisation do not."""
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
    """Exempt parts from training, by their names. Raises ValueError for one that there is not, or if none is left."""
    known = dict(network.named_modules())
    for part in parts:
        if part not in known or not part:
            offered = ", ".join(name for name in known if name.count(".") == 1 and "conv" not in name)
            raise ValueError(f"the network has no part {part!r} to freeze; it has {offered}, sides, fuse")
        known[part].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("freeze leaves nothing to train")


def set_training(network: nn.Module, config: TrainConfig) -> None:
    """Put the network into training mode, all but the normalisation that is frozen by itself or with its part."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            config.freeze_norm or not module.weight.requires_grad
        ):
            module.eval()


class Average:
    """An exponential moving average of a network's weights and running statistics; with a decay of 0 its copy.

    The decay is `decay` at most, and (1 + step) / (10 + step) early on, when the beginning should be forgotten soon.
    """

    def __init__(self, network: U2Net, decay: float) -> None:
        self.network: U2Net = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self._pairs = list(zip(_floats(self.network), _floats(network), strict=True))
        self._counters = list(zip(_counters(self.network), _counters(network), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network as it is after a step, which counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        ours, theirs = (list(tensors) for tensors in zip(*self._pairs, strict=True))
        get_ema_multi_avg_fn(decay)(ours, theirs, 0)  # type: ignore[no-untyped-call]
        for ours_, theirs_ in self._counters:
            ours_.copy_(theirs_)


def _floats(network: nn.Module) -> list[Tensor]:
    return [value for value in network.state_dict(keep_vars=True).values() if value.is_floating_point()]


def _counters(network: nn.Module) -> list[Tensor]:
    return [value for value in network.state_dict(keep_vars=True).values() if not value.is_floating_point()]
