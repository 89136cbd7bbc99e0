"""What a model costs and how fast it is: parameters, work, memory, and milliseconds a picture."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, cast

import numpy as np

from u2net.errors import InvalidModel, MissingExtra
from u2net.inference.open import new_session
from u2net.inference.runtimes import RUNTIMES, Number, Runtime
from u2net.inference.session import Session
from u2net.models.onnx_sizes import check_sizes


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

    check_sizes(Path(path), size)
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
    # `u2net.net.constant_channels` adds what knows only the picture's size: it holds biases, but is no work on it.
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


WAYS: tuple[tuple[str, Number], ...] = tuple((name, p) for name, row in RUNTIMES.items() for p in row.precisions)
"""Every runtime at each of its precisions; the first is what others are compared with."""


@dataclass(frozen=True)
class Timing:
    """One runtime at one precision; `ratio` is its time over that of ONNX Runtime in float32, round by round."""

    runtime: str
    precision: Number
    ms: float
    """Median of the rounds."""
    ratio: float
    ratio_min: float
    ratio_max: float


def time_ways(
    model: str | PathLike[str], *, threads: int | None = None, rounds: int = 9
) -> tuple[list[Timing], dict[str, str]]:
    """The timings of all ways that this machine has, the fastest first; and why it lacks the others.

    `model` is what `new_session` takes. All ways are opened, then take turns, `rounds` times. Raises InvalidModel and
    OSError for the file itself.
    """
    sessions: dict[tuple[str, Number], Session] = {}
    missing = {}
    for runtime, precision in WAYS:
        try:
            sessions[runtime, precision] = new_session(
                model, runtime=cast(Runtime, runtime), precision=precision, threads=threads
            )
        except (MissingExtra, ValueError) as error:
            if not sessions:
                raise
            missing[f"{runtime} {precision}"] = str(error)
    width, height = next(iter(sessions.values())).card.transform.size
    picture = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
    times: dict[tuple[str, Number], list[float]] = {way: [] for way in sessions}
    for turn in range(rounds + 1):
        for way, session in sessions.items():
            start = perf_counter()
            session.backend(picture)
            if turn:  # the first warms up
                times[way].append(perf_counter() - start)
    base = times[WAYS[0]]
    timings = []
    for (runtime, precision), taken in times.items():
        ratios = [a / b for a, b in zip(taken, base, strict=True)]
        timings.append(Timing(runtime, precision, 1000 * median(taken), median(ratios), min(ratios), max(ratios)))
    return sorted(timings, key=lambda timing: timing.ratio), missing
