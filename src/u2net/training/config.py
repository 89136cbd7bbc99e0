"""Everything that a training run can be told: plain data, no torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args, get_type_hints

Augmentation = Literal["none", "paper", "modern"]
Feeding = Literal["authors", "antialiased", "checkpoint"]
Look = Literal["plain", "mirrored", "upside-down", "smaller", "smaller-mirrored"]


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Raises ValueError for values out of range, naming the field."""

    data: tuple[str, ...] = ()
    """Folder or tar archive with pictures and masks; several are trained on together."""
    weights: tuple[float, ...] = ()
    """How often an epoch takes each of `data`, in their order; once by default."""
    images: str | None = None
    """Folder or tar archive of pictures whose masks lie in `masks`; stands beside `data`."""
    masks: str | None = None
    """Folder or tar archive of the masks of `images`."""
    validation: tuple[str, ...] = ()
    """Folder or tar archive to validate on; the first decides which weights are best."""
    holdout: float = 0.05
    """Part of each of `data` that is kept back to validate on when `validation` is empty; of those of a weight below 1,
    which are mixed in, nothing is."""
    on_bad: Literal["fail", "skip"] = "fail"
    """What to do about pairs that cannot be read: stop and name them, or name them and go on without."""
    classes: tuple[str, ...] = ("background", "subject")
    """Names of the classes, background first; with three or more, masks hold indices into them."""
    ignore_index: int = 255
    """Index in masks of several classes that is not trained on."""

    model: Literal["u2netp", "u2net"] = "u2netp"
    """The network: the small one of the paper, or the full one."""
    init: str | None = None
    """Weights to begin with: a checkpoint, or the name of a model; without, Xavier initialisation."""
    freeze: tuple[str, ...] = ()
    """Part of the network that stays as it is, e.g. encoder.0 or sides."""
    freeze_norm: bool = False
    """Keep running means and variances of batch normalisation as they are, and normalise by them."""

    teachers: tuple[str, ...] = ()
    """Model, by name or file, whose map takes the masks' place; of several the mean."""
    looks: tuple[Look, ...] = ("plain", "mirrored")
    """How teachers see a picture, in turn: as it is, mirrored, upside down, or at four fifths of its size."""

    feeding: Feeding = "authors"
    """How pictures are resized and scaled: as the authors do, anti-aliased, or as `init` asks for."""
    size: int = 320
    """Width and height in pixels to which pictures are resized."""
    crop: int = 288
    """Width and height in pixels of what the network sees of them in training."""
    augment: Augmentation = "paper"
    """How pictures are varied: not at all; flips and crops as in the paper; or geometry, colour and quality too."""

    bce: float = 1.0
    """Weight of binary (of several classes: categorical) cross-entropy in the loss."""
    iou: float = 0.0
    """Weight of the soft intersection over union in the loss."""
    ssim: float = 0.0
    """Weight of structural similarity in the loss."""
    edge: float = 0.0
    """How much more pixels near outlines count in the cross-entropy than others."""
    side_weights: tuple[float, ...] = (1.0,) * 7
    """Weights of the fused map and of side outputs 1 to 6 in the loss."""
    positive_weight: float = 1.0
    """How much more the subject's pixels count in the cross-entropy than the background's."""
    class_weights: tuple[float, ...] = ()
    """How much each class counts in the cross-entropy, in the order of `classes`."""

    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or Adam with decoupled weight decay."""
    lr: float = 1e-3
    """Highest learning rate."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate after warm-up: constant, or down to nothing along a cosine."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises from nothing."""
    weight_decay: float = 0.0
    """Decay of convolution weights; biases and normalisation have none."""
    clip_norm: float = 0.0
    """Longest gradient; longer ones are scaled down. 0 for no limit."""
    ema: float = 0.0
    """Decay of the average of weights that is validated and exported; 0 for the weights themselves."""
    batch_size: int = 12
    """Pictures that one device takes at once."""
    accumulate: int = 1
    """Batches whose gradients make one step."""
    epochs: float = 100.0
    """Times that each picture is seen."""
    max_steps: int = 0
    """Steps to stop after, before `epochs` are over; 0 for no limit."""
    patience: int = 0
    """Validations without a better result to stop after; 0 for no limit."""
    seed: int = 0
    """Of initialisation, order and augmentation."""

    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the fastest there is."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the device has it in hardware, else fp32."""
    channels_last: bool = True
    """Keep the channels of a pixel together in memory."""
    compile: bool = False
    """Compile the network: minutes at the start, faster steps on a GPU."""
    checkpointing: bool = False
    """Compute stages again in the backward pass instead of keeping them: less memory, more time."""
    sync_norm: bool = False
    """Normalise over the batches of all devices together."""
    deterministic: bool = False
    """Equal runs on a GPU, for slower steps. On the CPU runs are always equal."""
    workers: int = 2
    """Processes that decode and augment; 0 for the training process itself."""
    cache: Literal["none", "memory", "disk", "device"] = "none"
    """Where decoded and resized pictures are kept: nowhere, in shared memory, in the run's folder, on the GPU."""

    best_by: Literal["maxF", "MAE", "Fw", "Sm", "mIoU"] = "maxF"
    """Score on the first validation set by which weights are best; of several classes it is mIoU."""
    validate_every: int = 0
    """Steps between validations; 0 for once an epoch."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    sample_every: int = 500
    """Steps between sheets of sample predictions."""
    keep: int = 3
    """Newest checkpoints that are kept, besides the best weights."""
    skip_nonfinite: int = 0
    """Steps in a row with a loss that is not finite that are left out before the run stops."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # JSON knows lists only
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            _check_kind(field.name, value, hints[field.name])
        for name, low, high in _RANGES:
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is from {low:g} to {high:g}, got {getattr(self, name)}")
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
        if self.num_classes > 1 and (self.ssim or self.positive_weight != 1):
            raise ValueError("ssim and positive_weight are for two classes; of more, class_weights count")
        if not self.looks:
            raise ValueError("looks are one or more")
        if self.num_classes > 1 and self.teachers:
            raise ValueError("teachers are for two classes")
        if self.num_classes == 1 and self.class_weights:
            raise ValueError("class_weights are for three classes or more; of two, positive_weight counts")
        if self.feeding == "checkpoint" and self.init is None:
            raise ValueError("feeding 'checkpoint' needs init")

    @property
    def num_classes(self) -> int:
        """Output channels of the network: 1 for background and subject."""
        return 1 if len(self.classes) == 2 else len(self.classes)

    @property
    def anywhere(self) -> bool:
        """Whether the truth is right for any part of a picture, so that the subject need not be in it."""
        return self.num_classes > 1 or bool(self.teachers)

    def to_json(self) -> str:
        """JSON that `from_json` reads back."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The TrainConfig that `to_json` wrote; fields may be absent. Raises ValueError for unknown ones."""
        try:
            values: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not a configuration: {error}") from None
        if not isinstance(values, dict):
            raise ValueError("not a configuration: expected a JSON object")
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"not a configuration: unknown field {unknown[0]!r}")
        return cls(**values)

    def differences(self, other: TrainConfig) -> list[str]:
        """One line for each field of another configuration that would make it a different run."""
        may_change = _MAY_CHANGE | (_LENGTH if self.schedule == "constant" else set())
        return [
            f"{field.name}: {getattr(self, field.name)!r} -> {getattr(other, field.name)!r}"
            for field in fields(self)
            if field.name not in may_change and getattr(self, field.name) != getattr(other, field.name)
        ]


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("holdout", 0, 0.9),
    ("ignore_index", 0, 255),
    ("size", 32, 4096),
    ("crop", 32, 4096),
    ("bce", 0, math.inf),
    ("iou", 0, math.inf),
    ("ssim", 0, math.inf),
    ("edge", 0, math.inf),
    ("positive_weight", 1e-6, 1e6),
    ("lr", 0, 100),
    ("warmup_steps", 0, math.inf),
    ("weight_decay", 0, 1),
    ("clip_norm", 0, math.inf),
    ("ema", 0, 0.999999),
    ("batch_size", 1, 65536),
    ("accumulate", 1, 65536),
    ("epochs", 1e-6, 1e6),
    ("max_steps", 0, math.inf),
    ("patience", 0, math.inf),
    ("seed", 0, 2**63 - 1),
    ("workers", 0, 256),
    ("validate_every", 0, math.inf),
    ("checkpoint_every", 1, math.inf),
    ("sample_every", 1, math.inf),
    ("keep", 1, 1000),
    ("skip_nonfinite", 0, math.inf),
)

_MAY_CHANGE = {"workers", "cache", "checkpoint_every", "sample_every", "keep", "patience", "skip_nonfinite"}
"""Fields that leave what a run has done as it is, and may differ when it goes on."""

_LENGTH = {"epochs", "max_steps"}
"""Fields that say how long a run is, and nothing more where the learning rate is constant."""


def _check_kind(name: str, value: object, kind: Any) -> None:
    """Raise ValueError unless a value is of a field's type; whole numbers pass for others, true and false do not."""
    choices = get_args(kind)
    if kind in (bool, int, str):
        fits = type(value) is kind
    elif kind is float:
        fits = type(value) in (int, float) and abs(value) < math.inf  # type: ignore[arg-type]
    elif choices and choices[-1] is Ellipsis:
        fits = isinstance(value, tuple)
        for item in value if isinstance(value, tuple) else ():
            _check_kind(name, item, choices[0])
    elif choices and type(None) in choices:
        fits = value is None or isinstance(value, str)
    else:
        fits = value in choices
        if not fits:
            raise ValueError(f"{name} is one of {', '.join(map(str, choices))}, got {value!r}")
    if not fits:
        raise ValueError(f"{name} is of type {getattr(kind, '__name__', kind)}, got {value!r}")
