"""The options of a training run, and the recipes to start from: plain data, no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, Self

from u2net.config import check_fields, option, read_fields, read_json

Augmentation = Literal["none", "paper", "modern"]
Feeding = Literal["authors", "antialiased", "checkpoint"]
Look = Literal["plain", "mirrored", "upside-down", "smaller", "smaller-mirrored"]


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Raises ValueError for values out of range, naming the field."""

    data: tuple[str, ...] = ()
    """Folder or tar archive with pictures and masks; several are used together."""
    weights: tuple[float, ...] = ()
    """How many times an epoch uses each of `data`, in their order; once by default."""
    images: str | None = None
    """Folder or tar archive of pictures whose masks are in `masks`; used in addition to `data`."""
    masks: str | None = None
    """Folder or tar archive of the masks of `images`."""
    mask_suffix: str = ""
    """What names of masks have behind those of their pictures: _mask for NAME_mask.png. Data without such names is
    matched by whole names."""
    validation: tuple[str, ...] = ()
    """Folder or tar archive to validate on. The first one decides which weights are best."""
    holdout: float = option(0.05, 0, 0.9)
    """Share of each of `data` that is kept for validation when `validation` is empty. Nothing is kept of data
    with a weight below 1."""
    on_bad: Literal["fail", "skip"] = "fail"
    """What to do with pairs that cannot be read: stop and list them, or list them and train without them."""
    classes: tuple[str, ...] = ("background", "subject")
    """Names of the classes, background first. With three or more, masks contain class indices."""
    ignore_index: int = option(255, 0, 255)
    """Index in masks of several classes whose pixels are not trained on."""

    model: Literal["u2netp", "u2net"] = "u2netp"
    """The network: the small one of the paper (u2netp) or the full one."""
    init: str | None = None
    """Weights to start from: a checkpoint or the name of a model. Default: random (Xavier)."""
    freeze: tuple[str, ...] = ()
    """Part of the network that is not trained, e.g. encoder.0 or sides."""
    freeze_norm: bool = False
    """Keep the running means and variances of batch normalisation, and use them in training too."""

    teachers: tuple[str, ...] = ()
    """Model, by name or file, whose output is learnt instead of the masks. With several, their mean."""
    looks: tuple[Look, ...] = ("plain", "mirrored")
    """How each teacher sees a picture, in turn: as it is, mirrored, upside down, or at 4/5 of its size."""

    feeding: Feeding = "authors"
    """How pictures are resized and scaled: as the paper's authors do, anti-aliased, or as `init` requires."""
    size: int = option(320, 32, 4096)
    """Width and height in pixels to which pictures are resized."""
    crop: int = option(288, 32, 4096)
    """Width and height in pixels of the part that the network sees in training."""
    augment: Augmentation = "paper"
    """How pictures are varied: not at all; flips and crops as in the paper; or geometry, colour and quality too."""

    bce: float = option(1.0, 0)
    """Weight of cross-entropy in the loss (binary; categorical for several classes)."""
    iou: float = option(0.0, 0)
    """Weight of the soft intersection over union in the loss."""
    ssim: float = option(0.0, 0)
    """Weight of structural similarity in the loss."""
    edge: float = option(0.0, 0)
    """How much more pixels near outlines count in the cross-entropy."""
    side_weights: tuple[float, ...] = (1.0,) * 7
    """Weights of the fused map and of side outputs 1 to 6 in the loss."""
    class_weights: tuple[float, ...] = ()
    """Weight of each class in the cross-entropy, in the order of `classes`."""

    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or Adam with decoupled weight decay."""
    lr: float = option(1e-3, 0, 100)
    """Highest learning rate."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or falling to zero along a cosine."""
    warmup_steps: int = option(0, 0)
    """Steps in which the learning rate rises from zero."""
    weight_decay: float = option(0.0, 0, 1)
    """Weight decay of convolutions; biases and normalisation have none."""
    clip_norm: float = option(0.0, 0)
    """Largest gradient norm; larger gradients are scaled down. 0 for no limit."""
    ema: float = option(0.0, 0, 0.999999)
    """Decay of the moving average of weights that is validated and exported. 0 for the weights themselves."""
    batch_size: int = option(12, 1, 65536)
    """Pictures per batch and device."""
    accumulate: int = option(1, 1, 65536)
    """Batches whose gradients are added up for one step."""
    epochs: float = option(100.0, 1e-6, 1e6)
    """Number of times that every picture is used."""
    max_steps: int = option(0, 0)
    """Stop after this many steps even if `epochs` are not done. 0 for no limit."""
    patience: int = option(0, 0)
    """Stop after this many validations without a better result. 0 for no limit."""
    seed: int = option(0, 0, 2**63 - 1)
    """Seed of initialisation, order and augmentation."""

    device: str = "auto"
    """cpu, cuda, cuda:1 or mps; auto takes the fastest one available."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the network; auto is bf16 where the hardware supports it, else fp32."""
    compile: bool = False
    """Compile the network: takes minutes at the start, then steps are faster on a GPU."""
    checkpointing: bool = False
    """Compute stages again in the backward pass instead of storing them: less memory, more time."""
    deterministic: bool = False
    """Make runs on a GPU repeatable, with slower steps. Runs on the CPU always are."""
    workers: int = option(2, 0, 256)
    """Processes that decode and augment pictures; 0 for none besides the training process."""
    cache: Literal["none", "memory", "disk", "device"] = "none"
    """Where to keep decoded and resized pictures: nowhere, in shared memory, in the run's folder, on the GPU."""

    best_by: Literal["maxF", "MAE", "Fw", "Sm", "mIoU"] = "maxF"
    """Score on the first validation set that decides which weights are best; always mIoU for several classes."""
    validate_every: int = option(0, 0)
    """Steps between validations; 0 for once an epoch."""
    checkpoint_every: int = option(500, 1)
    """Steps between checkpoints."""
    sample_every: int = option(500, 1)
    """Steps between sheets of sample predictions."""
    keep: int = option(3, 1, 1000)
    """Number of newest checkpoints to keep, in addition to the best weights."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.crop > self.size:
            raise ValueError(f"crop is at most size, {self.size}, got {self.crop}")
        if self.batch_size == 1 and self.crop == 32 and not self.freeze_norm:
            raise ValueError("batches of 1 need a crop above 32: norms need more than the one pixel that is left")
        if (self.images is None) != (self.masks is None):
            raise ValueError("images and masks go together")
        if self.weights and (len(self.weights) != len(self.data) or not 0 < min(self.weights) <= max(self.weights)):
            raise ValueError(f"weights are as many as data, {len(self.data)}, each above 0, got {self.weights}")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes are two different names or more, background first, got {self.classes}")
        if self.class_weights and (len(self.class_weights) != len(self.classes) or min(self.class_weights) < 0):
            raise ValueError(f"class_weights are as many as classes, {len(self.classes)}, none below 0")
        if len(self.side_weights) != 7 or min(self.side_weights) < 0 or not any(self.side_weights):
            raise ValueError(f"side_weights are seven, none below 0 and one above, got {self.side_weights}")
        if not (self.bce or self.iou or self.ssim):
            raise ValueError("one of bce, iou and ssim is above 0")
        if not self.looks:
            raise ValueError("looks are one or more")
        if self.num_classes > 1 and self.ssim:
            raise ValueError("ssim is for two classes; for more, use class_weights")
        if self.num_classes > 1 and self.teachers:
            raise ValueError("teachers are for two classes")
        if self.num_classes == 1 and self.class_weights:
            raise ValueError("class_weights are for three classes or more")
        if self.feeding == "checkpoint" and self.init is None:
            raise ValueError("feeding 'checkpoint' needs init")

    @property
    def num_classes(self) -> int:
        """Output channels of the network: 1 for background and subject."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def anywhere(self) -> bool:
        """Whether crops may cut through or miss the subject, since the truth is right for any part of a picture."""
        return self.num_classes > 1 or bool(self.teachers)

    def to_json(self) -> str:
        """JSON that `from_json` reads back."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The TrainConfig that `to_json` wrote, here or in 0.1.0; fields may be absent. Raises ValueError otherwise."""
        values = read_json(text, "configuration")
        for name, harmless in _RETIRED.items() if isinstance(values, dict) else ():
            value = values.pop(name, harmless[0])
            if value not in harmless:
                raise ValueError(f"not a configuration: {name} is no longer supported, got {value!r}")
        return read_fields(cls, values, "configuration")

    def differences(self, other: TrainConfig) -> list[str]:
        """One line for each field of another configuration that would make it a different run."""
        may_change = _MAY_CHANGE | (_LENGTH if self.schedule == "constant" else set())
        return [
            f"{field.name}: {getattr(self, field.name)!r} -> {getattr(other, field.name)!r}"
            for field in fields(self)
            if field.name not in may_change and getattr(self, field.name) != getattr(other, field.name)
        ]


_MAY_CHANGE = {"workers", "cache", "checkpoint_every", "sample_every", "keep", "patience"}
"""Fields that do not change the result of a run; they may differ when it goes on."""

_LENGTH = {"epochs", "max_steps"}
"""Fields that only set the length of a run if the learning rate is constant; with a cosine they change each step."""

_RETIRED = {
    "sync_norm": (False,),
    "skip_nonfinite": (0,),
    "positive_weight": (1.0,),
    "channels_last": (True, False),
}
"""Fields of 0.1.0 that are gone, by the values at which they changed no result."""


PAPER = TrainConfig(holdout=0.0, epochs=682.0, checkpoint_every=2000, sample_every=2000)
"""The paper's training: Adam at 1e-3, batches of 12, crops of 288 out of 320, flips, seven sums of cross-entropy.

600,000 steps of 12 (section 4.3) are 682 times the 10,553 pictures of DUTS-TR. The paper doubles them by mirror images
to 21,106; here a picture is mirrored by chance instead.
"""

MODERN = TrainConfig(
    feeding="antialiased",
    augment="modern",
    iou=1.0,
    edge=2.0,
    optimizer="adamw",
    lr=2e-3,
    schedule="cosine",
    warmup_steps=1000,
    weight_decay=1e-2,
    clip_norm=1.0,
    ema=0.9995,
    batch_size=32,
    epochs=300.0,
)
"""What later work found: AdamW with warm-up and cosine, averaged weights, a hybrid loss, more augmentation."""

FINETUNE = replace(
    MODERN,
    feeding="checkpoint",
    init="u2netp",
    augment="paper",
    iou=0.0,
    edge=0.0,
    lr=1e-5,
    warmup_steps=20,
    freeze_norm=True,
    ema=0.98,
    batch_size=8,
    epochs=40.0,
    holdout=0.2,
    patience=8,
    checkpoint_every=50,
    sample_every=50,
    cache="disk",
)
"""For 20 to 500 pictures of your own, starting from a checkpoint; stops when it no longer gets better.

Loss and augmentation are those of the authors' weights: the more they change, the more the network forgets.
"""

SMOKE = replace(
    PAPER,
    augment="none",
    crop=128,
    size=128,
    batch_size=8,
    epochs=150.0,
    lr=2e-3,
    cache="memory",
    workers=0,
    checkpoint_every=50,
    sample_every=100,
)
"""Learns a few pictures by heart in minutes on a CPU, to check that everything works."""

PRESETS: dict[str, TrainConfig] = {"paper": PAPER, "modern": MODERN, "finetune": FINETUNE, "smoke": SMOKE}
"""These recipes by the names that `--preset` takes."""
