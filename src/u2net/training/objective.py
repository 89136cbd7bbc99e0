"""From pixels to the loss, as one module that can be compiled and distributed: network, teachers, normalisation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from u2net.errors import InvalidModel
from u2net.models.transform import AUTHORS, Transform
from u2net.models.zoo import resolve
from u2net.net.model import VARIANTS, U2Net
from u2net.net.weight_files import load_checkpoint
from u2net.training.config import Look, TrainConfig
from u2net.training.loss import Loss, LossValue
from u2net.training.norms import has_folded_norms, leave_out_norms, lower_levels
from u2net.training.parallel import find_layout

Precision = Literal["fp32", "bf16", "fp16"]

_CPU = torch.device("cpu")


class Objective(nn.Module):
    """Pixels and masks in, losses out, in the precision of the configuration, which must not be `auto`."""

    def __init__(self, network: U2Net, config: TrainConfig, transform: Transform) -> None:
        super().__init__()
        self.network = network
        self.loss = Loss(config)
        self.teachers = Teachers(config, next(network.parameters()).device) if config.teachers else None
        self.normalise = Normalise(transform)
        self.dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]

    def forward(self, images: Tensor, masks: Tensor) -> LossValue:
        """`images` uint8 (B, 3, H, W), `masks` uint8 (B, 1, H, W), on the network's device."""
        pixels = self.normalise(images)
        with torch.autocast(images.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.network(pixels)
            if self.teachers:
                masks = self.teachers(pixels)
        value: LossValue = self.loss(logits, masks)
        return value


def new_network(config: TrainConfig) -> tuple[U2Net, Transform]:
    """The network at the start of training, on the CPU, and the transform of its input.

    With `init` it has those weights; if their classes differ, all but the outputs' convolutions. Raises what
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
    """The precision with this name; `auto` is bf16 if the device's hardware has it, else fp32.

    Raises ValueError for fp16 on a CPU, where it is slower than both.
    """
    if name == "auto":
        if device.type == "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
        in_hardware = device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False)
        return "bf16" if in_hardware else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 is for GPUs; on a CPU bf16 and fp32 are")
    return name  # type: ignore[return-value]


class Normalise(nn.Module):
    """The input of a network, float32 (B, 3, H, W), from pictures uint8 (B, 3, H, W), as `Transform.normalise` does.

    Mean and deviation go to the device with it, before the first step: numbers that are sent in a step are waited for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        self.divisor = transform.divisor
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (transform.mean, transform.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The pixels."""
        pixels = images.float()
        if self.divisor == "255":
            pixels = pixels / 255
        else:
            peak = pixels.amax(dim=(1, 2, 3), keepdim=True)
            pixels = pixels / torch.where(peak > 0, peak, 1)
        return (pixels - self.mean) / self.std


_View = tuple[tuple[int, ...], float]
"""How a look changes pixels (B, C, H, W) before the network, whose map is changed back: axes to flip, and a scale."""

_VIEWS: dict[Look, _View] = {
    "plain": ((), 1.0),
    "mirrored": ((3,), 1.0),
    "upside-down": ((2,), 1.0),
    "smaller": ((), 0.8),
    "smaller-mirrored": ((3,), 0.8),
}


class Teachers(nn.Module):
    """Trained models whose mean map replaces the masks: knowledge distillation.

    They see the same pixels as the student (Beyer et al., Knowledge distillation: A good teacher is patient and
    consistent, CVPR 2022), each through the next of the configuration's `looks`, so that a model that is named several
    times is averaged over these. The mean is of logits.
    """

    def __init__(self, config: TrainConfig, device: torch.device = _CPU) -> None:
        super().__init__()
        networks = {name: _load(name) for name in config.teachers}
        self.networks = nn.ModuleList(networks[name] for name in config.teachers)
        self.views = [_VIEWS[config.looks[index % len(config.looks)]] for index in range(len(config.teachers))]
        self.networks.to(device, memory_format=find_layout(device))  # type: ignore[call-overload]
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        """Masks, float32 (B, 1, H, W), 0 to 255, for the student's input, (B, 3, H, W)."""
        logits = pixels.new_zeros((len(pixels), 1, *pixels.shape[2:]))
        for network, view in zip(self.networks, self.views, strict=True):
            logits += _look(network, view, pixels) / len(self.networks)
        return 255 * torch.sigmoid(logits)


def _look(network: nn.Module, view: _View, pixels: Tensor) -> Tensor:
    """The fused logits for one look at pixels, float32 (B, 1, H, W)."""
    flipped, scale = view
    seen = pixels.flip(flipped)
    if scale != 1:
        shape = [max(1, round(length * scale)) for length in pixels.shape[2:]]
        seen = F.interpolate(seen, shape, mode="bilinear", antialias=True)
    logits: Tensor = network(seen)[0].float()
    if scale != 1:
        logits = F.interpolate(logits, pixels.shape[2:], mode="bicubic")
    return logits.flip(flipped)


def _load(name: str) -> U2Net:
    """A model by name or file. Raises what `load_checkpoint` and `resolve` do, and InvalidModel for several classes."""
    network = load_checkpoint(resolve(name)).network
    if network.num_classes != 1:
        raise InvalidModel(f"{name} knows {network.num_classes} classes; teachers know background and subject")
    if has_folded_norms(network):
        lower_levels(network)  # else bf16 would lose some of their output
        leave_out_norms(network)
    return network
