"""The folder of a run: its files, its model card, and its record of steps, curves and TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock, Timeout
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from u2net import __version__
from u2net.errors import ConfigMismatch, U2NetError
from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.net.export import export_onnx
from u2net.net.model import U2Net
from u2net.net.weight_files import load_checkpoint, save_checkpoint
from u2net.system.files import atomic_write
from u2net.training.config import TrainConfig
from u2net.training.snapshot import folder_of


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished run."""

    num_steps: int
    scores: dict[str, float]
    """Scores of the best weights on the first validation set; empty without one."""
    weights: Path
    """The best weights, with their card."""
    model: Path
    """The same as an ONNX file."""


WEIGHTS = "weights.safetensors"
"""In each snapshot: the averaged weights, with their card."""


class Run:
    """A folder and the files in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.json"
        """The configuration, as JSON."""
        self.inventory = folder / "data.json"
        """The pairs that are used, by name, size, times and digest."""
        self.snapshots = folder / "checkpoints"
        """The newest states, one folder each."""
        self.best = folder / "best.safetensors"
        """Averaged weights of the best validation; without validation, the last ones."""
        self.model = folder / "model.onnx"
        """The same for `u2net remove --model` and for rembg; written when the run ends."""
        self.page = folder / "README.md"
        """The model card, for people."""
        self.samples = folder / "samples"
        """Sheets of sample predictions."""
        self.cache = folder / "cache"
        """Decoded pictures, and which pairs cannot be used; may be deleted."""

    def new_card(self, config: TrainConfig, transform: Transform) -> Card:
        """The card of the weights, as far as it is known before training."""
        data = ", ".join(Path(source).stem for source in (*config.data, config.images) if source)
        source = f"trained with u2net {__version__} on {data}" + (f", from {config.init}" if config.init else "")
        return Card(self.folder.resolve().name, transform, config.classes, source=source)

    def without_init(self, config: TrainConfig, step: int) -> TrainConfig:
        """The configuration for a run that goes on: its own weights serve for `init`, which may be gone by now."""
        weights = folder_of(self.snapshots, step) / WEIGHTS
        if config.init is None or not weights.exists():
            return config
        return replace(config, init=str(weights.absolute()))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the folder, which is new or a run's own: a run writes a README.md and more.

        Raises OSError if it cannot be created, and U2NetError if another process has it or it holds other files.
        """
        if self.folder.is_dir() and not self.config.exists():
            others = {path.name for path in self.folder.iterdir()} - {".lock", self.cache.name}
            if others:
                raise U2NetError(f"{self.folder} holds other files, {min(others)} for one: give the run a new folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise U2NetError(f"{self.folder} is being trained in by another process") from None

    def check(self, config: TrainConfig) -> None:
        """Raise ConfigMismatch if the run was started with another configuration, ValueError for a bad config.json."""
        if self.config.exists():
            differences = TrainConfig.from_json(self.config.read_text(encoding="utf-8")).differences(config)
            if differences:
                raise ConfigMismatch(str(self.folder), differences)

    def save_config(self, config: TrainConfig) -> None:
        """Write the configuration; called when nothing can prevent the run from starting any more."""
        with atomic_write(self.config) as file:
            file.write(config.to_json().encode())
        self.snapshots.mkdir(exist_ok=True)  # what cannot be is told now, and not when the first is saved

    def save_best(self, network: U2Net, card: Card) -> None:
        """Replace the best weights atomically."""
        save_checkpoint(network, self.best, card)

    def finish(self, config: TrainConfig, num_steps: int, seconds: float) -> Card:
        """Export the best weights as ONNX and write the model card; returns the card."""
        network, card = load_checkpoint(self.best)
        export_onnx(network, self.model, card)
        with atomic_write(self.page) as file:
            file.write(to_page(card, config, num_steps, seconds).encode())
        return card


def to_page(card: Card, config: TrainConfig, num_steps: int, seconds: float) -> str:
    """The model card in Markdown: the model, its use, scores and recipe."""
    default = TrainConfig()
    recipe = [
        f"| {field.name} | {getattr(config, field.name)} |"
        for field in fields(config)
        if getattr(config, field.name) != getattr(default, field.name)
    ]
    scores = [f"| {name} | {value:.4f} |" for name, value in card.scores.items()]
    lines = [
        f"# {card.name}",
        "",
        f"U²-Net for {', '.join(card.classes)}: {card.num_parameters:,} parameters, {card.source}.",
        "",
        f"- steps: {num_steps:,} in {seconds / 3600:.2f} hours on {_hardware(config)}",
        f"- licence: {card.licence}; that of the data is not known to this file",
        f"- sha256 of the weights: `{card.sha256}`",
        "",
        "```",
        "u2net remove --model model.onnx picture.jpg cutout.png",
        "```",
        "",
        "## Scores",
        "",
        *(["| | |", "|---|---:|", *scores] if scores else ["It was not validated."]),
        "",
        "## Recipe",
        "",
        "Fields of `config.json` that differ from the defaults:",
        "",
        "| field | value |",
        "|---|---|",
        *recipe,
        "",
    ]
    return "\n".join(lines)


def _hardware(config: TrainConfig) -> str:
    """The machine, in words."""
    if config.device != "cpu" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {config.precision}"
    name = torch.cpu.get_capabilities().get("cpu_name", "a CPU")
    return f"{torch.get_num_threads()} threads of {name}, {config.precision}"


_SHOWN = ("maxF", "MAE", "mIoU")  # scores that have a curve
_SMOOTHING = 50  # points of a loss curve that are averaged into one, at most a hundredth of it


class Record:
    """Writes what happens in a run after a step; lines of later steps, which will come again, are removed."""

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / "metrics.jsonl"
        kept = [row for row in read_rows(self._path) if row["step"] <= step]
        with atomic_write(self._path) as file:
            file.write("".join(f"{json.dumps(row)}\n" for row in kept).encode())
        self._lines = self._path.open("a", buffering=1)
        self._events = SummaryWriter(folder / "events", purge_step=step + 1)

    def write(self, row: dict[str, Any]) -> None:
        """Add a row with a "step"; its numbers, nested ones too, become scalars of TensorBoard."""
        self._lines.write(f"{json.dumps(row)}\n")
        for name, value in _scalars(row):
            self._events.add_scalar(name, value, row["step"])

    def draw(self) -> None:
        """Update curves.png."""
        self._lines.flush()
        save_curves(read_rows(self._path), self._path.with_name("curves.png"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._events.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, none if there is no such file; ignores lines that were cut off or damaged."""
    rows = []
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            row["step"] + 0
            rows.append(row)
    return rows


def save_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss and the scores of validations, if any, against steps, as PNG."""
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
    """Means of neighbouring points."""
    width = max(1, min(_SMOOTHING, len(x) // 100))
    starts = range(0, len(x) - width + 1, width)
    return [sum(x[i : i + width]) / width for i in starts], [sum(y[i : i + width]) / width for i in starts]


def _scalars(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "step":
            yield prefix + name, value
