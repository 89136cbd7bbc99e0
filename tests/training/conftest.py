from functools import cache, partial
from pathlib import Path

import pytest
import torch
from one_thread import one_thread  # noqa: F401  (a fixture)

from training.pairs import write_pairs
from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.net.model import VARIANTS, Stage, U2Net
from u2net.net.weight_files import load_checkpoint, save_checkpoint
from u2net.training import TrainConfig, loop, objective, run_folder

TINY = (
    *(Stage(2, False, c_in, 4, 8) for c_in in (3, 8, 8, 8)),
    *(Stage(2, True, c_in, 4, 8) for c_in in (8, 8, 16)),
    *(Stage(2, False, 16, 4, 8) for _ in range(4)),
)
"""A U²-Net of 16,000 parameters: all that the paper's has, each stage as low and as narrow as can be."""


@pytest.fixture
def tiny(monkeypatch):
    """Have "u2netp" name a network that trains in no time."""
    monkeypatch.setitem(VARIANTS, "u2netp", TINY)


@pytest.fixture
def lean(tiny, monkeypatch):
    """Leave out of runs what takes longest and has tests of its own: pictures, and the content of the ONNX file."""
    monkeypatch.setattr(run_folder, "export_onnx", lambda _network, path, _card: path.write_bytes(b""))
    monkeypatch.setattr(run_folder, "save_curves", lambda *_: None)
    monkeypatch.setattr(loop, "save_examples", lambda *_: None)


@pytest.fixture
def folded(tmp_path, tiny):
    """A file of the tiny network whose norms do nothing, and whose pictures are anti-aliased."""
    network = U2Net(VARIANTS["u2netp"])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.fill_(1 - module.eps)
    save_checkpoint(network, tmp_path / "folded.safetensors", Card("folded", Transform(antialias=True, divisor="255")))
    return tmp_path / "folded.safetensors"


_load_once = cache(load_checkpoint)


@pytest.fixture
def read_once(monkeypatch):
    """Open each file of weights once for all tests, which must not change them."""
    monkeypatch.setattr(objective, "load_checkpoint", _load_once)


@pytest.fixture
def root(tmp_path):
    """Eight pairs of 40×32 pixels."""
    return write_pairs(tmp_path / "set", 8)


@pytest.fixture
def configured(root):
    """Makes configurations of runs on `root` that take a second."""
    return partial(small_config, root)


def small_config(root: Path, **fields) -> TrainConfig:
    small = {"size": 40, "crop": 32, "batch_size": 2, "max_steps": 4, "holdout": 0.25, "augment": "none"}
    where = {"device": "cpu", "workers": 0, "precision": "fp32"}
    return TrainConfig(**({"data": (str(root),)} | small | where | fields))
