"""Writing a form: it appears as a whole, after it was compared with torch."""

from __future__ import annotations

import copy
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from u2net.engines import ENGINES, card_beside, files_of
from u2net.errors import InvalidModel
from u2net.models.card import Card
from u2net.models.transform import Backend
from u2net.net.backend import torch_backend
from u2net.net.checkpoint import describe
from u2net.net.export import TOLERANCE, to_onnx
from u2net.net.model import U2Net
from u2net.system.files import folder_beside


class Written(NamedTuple):
    """What was written for an engine."""

    num_bytes: int
    """Of what the engine reads."""
    difference: float | None
    """The largest difference of a probability from torch's for noise; None if the engine does not run here."""


def export_engine(network: U2Net, path: str | PathLike[str], card: Card) -> Written:
    """Write the network in the form that the suffix of `path` names in `u2net.engines.ENGINES`, and its card beside it.

    It takes one picture of the size of `card.transform`, and gives probabilities.

    Raises InvalidModel if they differ by more than `u2net.net.export.TOLERANCE`, MissingExtra, OSError if files cannot
    be written, KeyError for another suffix; then nothing was changed.
    """
    path = Path(path)
    engine = ENGINES[path.suffix]
    card = replace(describe(network, card), transform=replace(card.transform, output="probabilities"))
    with folder_beside(path) as folder:
        made = folder / path.name
        engine.write(to_onnx(network, card, static=True), made)
        num_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        difference = _compared(engine.open(made), network, card.transform.size, engine.name) if engine.open else None
        card_beside(made).write_text(card.to_json(indent=1) + "\n", encoding="utf-8")
        for file in reversed(files_of(path)):  # the chief one last
            if file.is_dir():
                file.rename(folder / f"old {file.name}")
            (folder / file.name).replace(file)
    return Written(num_bytes, difference)


def _compared(backend: Backend, network: U2Net, size: tuple[int, int], name: str) -> float:
    """The largest difference of a probability for noise. Raises InvalidModel if it is more than `TOLERANCE`."""
    noise = np.random.default_rng(0).standard_normal((1, network.stages[0].c_in, *reversed(size)), np.float32)
    expected = torch_backend(copy.deepcopy(network).cpu().float())(noise)
    difference = float(np.abs(backend(noise) - expected).max())
    if not difference <= TOLERANCE:  # NaN counts as a difference too
        raise InvalidModel(f"{name} differs from torch by {difference:.2g}")
    return difference
