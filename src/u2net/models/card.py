"""What is known about a set of weights. It is in every model file, and `u2net models info` prints it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self

from u2net.config import check_fields, read_fields, read_json
from u2net.models.transform import Transform

METADATA_KEY = "u2net.card"
"""Under this key ONNX and safetensors files carry their card as JSON."""

PRECISION_KEY = "u2net.precision"
"""Under this key ONNX files say "int8" if they compute with integers."""

PAIRS_KEY = "u2net.pairs"
"""Under this key files of integers say "16 bits" if sums of two products fit these, as processors without VNNI need."""

INSIDE_KEY = "u2net.inside"
"""Under this key ONNX files say "preprocessing" if they take pictures as they are, and give masks of their size."""


@dataclass(frozen=True)
class Card:
    """Name, feeding and origin of one set of weights. Raises ValueError for fields of the wrong kind."""

    name: str
    """What the model is called, e.g. "u2netp"."""
    transform: Transform = field(default_factory=Transform)
    """How to feed it and read its output."""
    classes: tuple[str, ...] = ("background", "subject")
    """Names of the labels, background first; with two the network has one output channel."""
    licence: str = "unknown"
    """SPDX identifier, or "unknown"."""
    source: str = "unknown"
    """Where the weights come from: who trained them, on what, where they were published."""
    sha256: str = ""
    """Hex digest of the weights before any folding (`u2net.net.checkpoint.digest`); empty when unknown."""
    num_parameters: int = 0
    """Learnt numbers of the network before any folding; 0 when unknown."""
    scores: dict[str, float] = field(default_factory=dict)
    """Measured results by name, e.g. {"ECSSD maxF": 0.943}."""
    sharpness: float = 1.0
    """What the logits of the map were multiplied by after training, so that it is blacker and whiter; 1 for nothing."""

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.classes) < 2:
            raise ValueError(f"classes are two names or more, the background's first, got {self.classes}")
        if self.sharpness <= 0:
            raise ValueError(f"sharpness is above 0, got {self.sharpness}")

    def to_json(self, indent: int | None = None) -> str:
        """JSON that `from_json` reads back."""
        return json.dumps(asdict(self), indent=indent, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The Card that `to_json` wrote. Raises ValueError for anything else, unknown fields included."""
        values = read_json(text, "model card")
        if isinstance(values, dict) and "transform" in values:
            values["transform"] = Transform.from_dict(values["transform"])
        return read_fields(cls, values, "model card")
