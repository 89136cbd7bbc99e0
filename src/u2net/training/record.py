"""What a run leaves to be looked at: a line for each step and validation, TensorBoard events, curves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from u2net.system import atomic_write

_SHOWN = ("maxF", "MAE", "mIoU")  # scores that have a curve
_SMOOTHING = 50  # points of a loss curve, at most a hundredth of it, that are averaged into one


class Record:
    """Writes what happens in a run, from a step on; lines of later steps, which will come again, are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["step"] <= step]
        with atomic_write(self._path) as file:
            file.write("".join(f"{json.dumps(row)}\n" for row in kept).encode())
        self._lines = self._path.open("a", buffering=1)
        self._events = SummaryWriter(folder / "events", purge_step=step + 1)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row; it has a "step", and its numbers, nested ones too, become scalars of TensorBoard."""
        self._lines.write(f"{json.dumps(row)}\n")
        for name, value in _scalars(row):
            self._events.add_scalar(name, value, row["step"])

    def draw(self) -> None:
        """Bring curves.png up to date."""
        self._lines.flush()
        save_curves(read_rows(self._path), self._path.with_name("curves.png"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._events.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, none if there is no such file; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def save_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss and, where there were validations, their scores against steps, as PNG."""
    steps = [row for row in rows if "loss" in row]
    validations = [row for row in rows if "validation" in row]
    figure = Figure(figsize=(11 if validations else 6, 4), layout="constrained")
    left, *others = figure.subplots(1, 2 if validations else 1, squeeze=False)[0]
    for key, label in (("loss", "all seven maps"), ("fused", "fused map: cross-entropy")):
        left.plot(*_smooth([row["step"] for row in steps], [row[key] for row in steps]), label=label)
    left.set(xlabel="step", ylabel="loss", yscale="log" if steps else "linear")
    for right in others:
        for name, scores in validations[0]["validation"].items():
            for score in [shown for shown in _SHOWN if shown in scores]:
                y = [row["validation"][name][score] for row in validations]
                right.plot([row["step"] for row in validations], y, marker=".", label=f"{name}: {score} {y[-1]:.3f}")
        right.set(xlabel="step", ylabel="validation", ylim=(0, 1))
    for axes in (left, *others):
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _smooth(x: list[int], y: list[float]) -> tuple[list[float], list[float]]:
    """Means of runs of neighbours."""
    width = max(1, min(_SMOOTHING, len(x) // 100))
    starts = range(0, len(x) - width + 1, width)
    return [sum(x[i : i + width]) / width for i in starts], [sum(y[i : i + width]) / width for i in starts]


def _scalars(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield prefix + name, value
