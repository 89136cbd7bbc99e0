"""What a model costs to run, counted from what the runtime ran."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from u2net.errors import InvalidModel


@dataclass(frozen=True)
class Cost:
    """One picture through a network."""

    num_weights: int
    """Numbers in its convolutions."""
    num_macs: int
    """Multiply-accumulates of its convolutions; all else is left out, as usual."""
    num_activations: int
    """Values in all the maps that one pass writes, batch normalisation folded, ReLU in place. Training holds more."""


def measure(path: str | PathLike[str], size: tuple[int, int]) -> Cost:
    """Run an ONNX file once on an empty picture of `size` = (width, height) and add up its profile.

    Raises InvalidModel if the file does not take that size or is quantised, OSError if it cannot be read.
    """
    import onnxruntime

    model = Path(path).read_bytes()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    # Fuses ReLU into its convolution, but does not yet rearrange channels for the processor at hand.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            picture = session.get_inputs()[0]
            session.run(None, {picture.name: np.zeros((1, picture.shape[1], size[1], size[0]), np.float32)})
        except Exception as error:  # the runtime's exceptions share no base class
            raise InvalidModel(f"{Path(path).name} does not run at {size[0]}×{size[1]}") from error
        events = json.loads(Path(session.end_profiling()).read_bytes())
    kernels = [event for event in events if event.get("name", "").endswith("_kernel_time")]
    # `u2net.net.levels` adds what knows the picture's size alone: no work on the picture, but it holds biases.
    levels = [event["args"] for event in kernels if event["name"].endswith(".level_kernel_time")]
    steps = [event["args"] for event in kernels if event["args"] not in levels]
    convolutions = [step for step in steps if "Conv" in step["op_name"]]
    if any(step["op_name"] not in ("Conv", "FusedConv") for step in convolutions):
        raise InvalidModel(f"{Path(path).name} is quantised: its work cannot be counted")
    return Cost(
        num_weights=sum(math.prod(shape) for step in convolutions for shape in _shapes(step["input_type_shape"])[1:3])
        + sum(math.prod(_shapes(step["input_type_shape"])[2]) for step in levels),
        num_macs=sum(
            math.prod(_shapes(step["output_type_shape"])[0]) * math.prod(_shapes(step["input_type_shape"])[1][1:])
            for step in convolutions
        ),
        num_activations=sum(math.prod(shape) for step in steps for shape in _shapes(step["output_type_shape"])),
    )


def _shapes(values: list[dict[str, Any]]) -> list[list[int]]:
    """Shapes of a step's inputs or outputs, each written as {"float": [1, 64, 320, 320]}."""
    return [shape for value in values for shape in value.values()]
