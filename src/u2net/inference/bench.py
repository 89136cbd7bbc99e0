"""How fast one picture goes through a model here, by runtime and precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from u2net.card import Card
from u2net.errors import InvalidModel, MissingExtra
from u2net.session import Precision, Runtime, Session, open_session

WAYS: tuple[tuple[Runtime, Precision], ...] = (
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("ncnn", "fp32"),
)
"""Every runtime and precision, the one to compare with first."""


@dataclass(frozen=True)
class Timing:
    """One runtime at one precision; `ratio` is its time over that of ONNX Runtime in float32, round by round."""

    runtime: Runtime
    precision: Precision
    ms: float
    """Median of the rounds."""
    ratio: float
    ratio_min: float
    ratio_max: float


def time_ways(
    path: Path, card: Card | None = None, *, threads: int | None = None, rounds: int = 9
) -> tuple[list[Timing], dict[str, str]]:
    """The ways that can be had here, the fastest first; and why others cannot.

    All are opened, then take turns, `rounds` times. Raises InvalidModel and OSError for the file itself.
    """
    sessions: dict[tuple[Runtime, Precision], Session] = {}
    missing = {}
    for runtime, precision in WAYS:
        try:
            sessions[runtime, precision] = open_session(
                path, card, runtime=runtime, precision=precision, threads=threads
            )
        except (MissingExtra, ValueError, InvalidModel) as error:
            if not sessions:
                raise
            missing[f"{runtime} {precision}"] = str(error)
    width, height = next(iter(sessions.values())).card.transform.size
    picture = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
    times: dict[tuple[Runtime, Precision], list[float]] = {way: [] for way in sessions}
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
