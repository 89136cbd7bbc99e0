"""What is minimised, from pixels to the loss, as one module: compiled whole, distributed whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from u2net.errors import InvalidModel
from u2net.models.transform import AUTHORS, Transform
from u2net.models.zoo import resolve
from u2net.net.checkpoint import load_checkpoint
from u2net.net.model import VARIANTS, U2Net
from u2net.training.config import TrainConfig
from u2net.training.loader import normalise
from u2net.training.loss import Loss, LossValue
from u2net.training.teachers import Teachers

Precision = Literal["fp32", "bf16", "fp16"]


class Objective(nn.Module):
    """Pixels and masks in, losses out: arithmetic in the precision of the configuration, which is not `auto`."""

    def __init__(self, network: U2Net, config: TrainConfig, transform: Transform) -> None:
        super().__init__()
        self.network = network
        self.loss = Loss(config)
        self.teachers = Teachers(config) if config.teachers else None
        self.transform = transform
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]

    def forward(self, images: Tensor, masks: Tensor) -> LossValue:
        """`images` uint8 (B, 3, H, W), `masks` uint8 (B, 1, H, W), on the network's device."""
        pixels = normalise(images, self.transform)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.network(pixels)
            if self.teachers:
                masks = self.teachers(pixels)
        value: LossValue = self.loss(logits, masks)
        return value


def new_network(config: TrainConfig) -> tuple[U2Net, Transform]:
    """The network as training begins, on the CPU, and how it is to be fed.

    With `init` its weights are taken; if it knows other classes, all but the outputs' convolutions. Raises what
    `load_checkpoint` and `resolve` do, and InvalidModel if `init` is not of the variant `model`.
    """
    torch.manual_seed(config.seed)
    network = U2Net(VARIANTS[config.model], config.num_classes, checkpointing=config.checkpointing)
    transform = AUTHORS
    if config.init is not None:
        checkpoint = load_checkpoint(resolve(config.init), VARIANTS[config.model])
        if checkpoint.network.stages != network.stages:
            raise InvalidModel(f"{config.init} holds another network than {config.model}")
        transform = checkpoint.card.transform
        known: dict[str, Any] = network.state_dict()
        taken = checkpoint.network.state_dict()
        if checkpoint.network.num_classes != config.num_classes:
            taken = {key: value for key, value in taken.items() if value.shape == known[key].shape}
        network.load_state_dict(known | taken)
    if config.feeding == "authors":
        transform = AUTHORS
    elif config.feeding == "antialiased":
        transform = Transform(antialias=True, divisor="255", stretch=False)
    transform = replace(transform, size=(config.size, config.size), output="probabilities")
    if config.num_classes > 1:
        transform = replace(transform, stretch=False)
    return network, transform


def find_precision(name: str, device: torch.device) -> Precision:
    """The precision of that name; `auto` is bf16 where the device computes in it, else fp32.

    Raises ValueError for fp16 on a CPU, where it is slower than either.
    """
    if name == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        in_hardware = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
        return "bf16" if in_hardware else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 is for GPUs; on a CPU bf16 and fp32 are")
    return name  # type: ignore[return-value]
