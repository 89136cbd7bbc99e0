"""The folder of a run: what lies where in it, who may write there, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from u2net import __version__
from u2net.errors import ConfigMismatch, U2NetError
from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.net.checkpoint import load_checkpoint, save_checkpoint
from u2net.net.export import export_onnx
from u2net.net.model import U2Net
from u2net.system import atomic_write
from u2net.training.config import TrainConfig


@dataclass(frozen=True)
class Run:
    """A folder and the names in it."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration, as JSON."""
        return self.folder / "config.json"

    @property
    def snapshots(self) -> Path:
        """The newest states, one folder each."""
        return self.folder / "checkpoints"

    @property
    def best(self) -> Path:
        """Averaged weights of the best validation; without validation, the last."""
        return self.folder / "best.safetensors"

    @property
    def model(self) -> Path:
        """The same for `u2net remove --model` and for rembg; written when the run ends."""
        return self.folder / "model.onnx"

    @property
    def page(self) -> Path:
        """The model card, for people."""
        return self.folder / "README.md"

    @property
    def samples(self) -> Path:
        """Sheets of sample predictions."""
        return self.folder / "samples"

    @property
    def cache(self) -> Path:
        """Decoded pictures, and which of them cannot be used; may be deleted."""
        return self.folder / "cache"

    def new_card(self, config: TrainConfig, transform: Transform) -> Card:
        """What is known of the weights beforehand."""
        data = ", ".join(Path(source).stem for source in (*config.data, config.images) if source)
        source = f"trained with u2net {__version__} on {data}" + (f", from {config.init}" if config.init else "")
        return Card(self.folder.resolve().name, transform, config.classes, source=source)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out. Raises U2NetError if one is in it, OSError if the folder cannot be made."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            with lock:
                yield
        except Timeout:
            raise U2NetError(f"{self.folder} is being trained in by another process") from None

    def check(self, config: TrainConfig) -> None:
        """See that a run that was begun goes on with its own configuration.

        Raises ConfigMismatch, and ValueError for a config.json that is not one.
        """
        if self.config.exists():
            differences = TrainConfig.from_json(self.config.read_text(encoding="utf-8")).differences(config)
            if differences:
                raise ConfigMismatch(str(self.folder), differences)

    def save_config(self, config: TrainConfig) -> None:
        """Write the configuration of a run that begins or goes on: of one that cannot, none is kept."""
        with atomic_write(self.config) as file:
            file.write(config.to_json().encode())

    def save_best(self, network: U2Net, card: Card) -> None:
        """Replace the best weights, whole or not at all."""
        save_checkpoint(network, self.best, card)

    def finish(self, config: TrainConfig, num_steps: int, seconds: float) -> Card:
        """Turn the best weights into the ONNX file and write the model card; the card that all carry."""
        network, card = load_checkpoint(self.best)
        export_onnx(network, self.model, card)
        with atomic_write(self.page) as file:
            file.write(to_page(card, config, num_steps, seconds).encode())
        return card


def to_page(card: Card, config: TrainConfig, num_steps: int, seconds: float) -> str:
    """The model card in Markdown: what it is, how it was made, how good it is, how to use it."""
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
