import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from needs import needs_fork

from training.pairs import write_pairs
from u2net.net.checkpoint import digest
from u2net.net.weight_files import load_checkpoint
from u2net.training import TrainConfig
from u2net.training.run_folder import read_rows
from u2net.training.snapshot import load_newest

SCRIPT = Path(__file__).with_name("survive.py")


def _config(root: Path, **fields) -> TrainConfig:
    small = {"size": 40, "crop": 32, "batch_size": 2, "accumulate": 2, "max_steps": 24, "ema": 0.9, "clip_norm": 1.0}
    rhythm = {"checkpoint_every": 4, "validate_every": 6, "sample_every": 9, "keep": 2, "holdout": 0.25}
    return TrainConfig(
        data=(str(root),), augment="modern", **{"device": "cpu", "workers": 0, **small, **rhythm, **fields}
    )


def _train(folder: Path, config: TrainConfig, points: list) -> list[str]:
    """What became of the process at each point, the last of which ran to the end."""
    command = [sys.executable, SCRIPT, folder, config.to_json(), json.dumps(points)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def _left(folder: Path) -> dict:
    """All that has to be equal: state to the last bit, logged losses, and what is used afterwards."""
    snapshot = load_newest(folder / "checkpoints", pytest.fail)
    facts = {name: value for name, value in snapshot.facts.items() if name != "seconds"}
    rows = [{k: v for k, v in row.items() if k != "images_per_s"} for row in read_rows(folder / "metrics.jsonl")]
    network, card = load_checkpoint(folder / "best.safetensors")  # whose header has no fixed order
    return {
        "step": snapshot.step,
        "tensors": {name: tensor.numpy().tobytes() for name, tensor in snapshot.tensors.items()},
        "facts": facts,
        "rows": rows,
        "best": (digest(network.state_dict()), card),
        "model": (folder / "model.onnx").read_bytes(),
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("data") / "set", 10, (64, 48))


def _assert_same(folder: Path, undisturbed: Path) -> None:
    ours, theirs = _left(folder), _left(undisturbed)
    for part in theirs:
        assert ours[part] == theirs[part], part


@pytest.mark.slow
@needs_fork
def test_a_killed_run_ends_in_the_bits_of_an_undisturbed_one(root, tmp_path):
    config = _config(root)
    _train(tmp_path / "a" / "run", config, [])
    points = [["step", 7], ["save", 2], ["validate", 2]]
    assert _train(tmp_path / "b" / "run", config, points) == [f"{kind} killed" for kind, _ in points]
    _assert_same(tmp_path / "b" / "run", tmp_path / "a" / "run")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@needs_fork
def test_twenty_random_kills_change_no_bit(root, tmp_path, workers):
    config = _config(root, workers=workers, max_steps=60)
    _train(tmp_path / "a" / "run", config, [])
    rng = np.random.default_rng(workers)
    kinds = rng.permutation(["step"] * 8 + ["save"] * 4 + ["validate"] * 2 + ["time"] * 6).tolist()
    highest = {"step": 9, "save": 6, "validate": 2}
    points = [
        [k, float(rng.uniform(0.2, 3))] if k == "time" else [k, int(rng.integers(1, highest[k] + 1))] for k in kinds
    ]
    told = _train(tmp_path / "b" / "run", config, points)
    assert sum("killed" in line for line in told) >= 15
    _assert_same(tmp_path / "b" / "run", tmp_path / "a" / "run")
