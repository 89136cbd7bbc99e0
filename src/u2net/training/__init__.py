"""Training. `train` needs the extra `train`; configurations need nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from u2net.errors import MissingExtra
from u2net.training.config import FINETUNE, MODERN, PAPER, PRESETS, SMOKE, TrainConfig

if TYPE_CHECKING:
    from u2net.training.loop import train

__all__ = ["FINETUNE", "MODERN", "PAPER", "PRESETS", "SMOKE", "TrainConfig", "train"]


def __getattr__(name: str) -> Any:
    """Import `train`, and torch with it, on first use. Raises MissingExtra without the extra `train`."""
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import matplotlib  # noqa: F401
        import onnx  # noqa: F401
        import safetensors  # noqa: F401
        import tensorboard  # type: ignore[import-untyped]  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("u2net.training needs more packages: pip install 'u2net[train]'") from error
    from u2net.training.loop import train

    return train
