"""`tools/data_pieces.py` and `tools/train_on_gpu.py`, tried whole on the CPU with a few pictures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import photo

from u2net.net import load_checkpoint

TOOLS = Path(__file__).parents[2] / "tools"
SMALL = ["batch_size=2", 'cache="none"', "workers=0", "size=64", "crop=48", "warmup_steps=0"]

pytestmark = pytest.mark.slow


def run(tool: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, TOOLS / tool, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "photos").mkdir()
    for number in range(5):
        photo(400 + number, 300).save(folder / "photos" / f"{number}.jpg")
    told = run("data_pieces.py", folder / "photos", folder / "p", "--teacher", "u2netp", "--piece-mib", 0.2)
    assert told.startswith("5 pictures in ")
    assert max(file.stat().st_size for file in (folder / "p").iterdir()) <= 0.2 * 2**20
    told = run("train_on_gpu.py", "teach", folder / "p", folder / "taught", "--device", "cpu")
    assert "and sound" in told
    assert len(list((folder / "taught").glob("*.tar"))) == len(list((folder / "p").glob("*.tar")))
    return folder


def train(folder: Path, name: str, steps: int, *options: object) -> str:
    fields = [part for field in (*SMALL, f"max_steps={steps}") for part in ("--set", field)]
    places = folder / "taught", folder / name, "--out", folder / f"{name}.out"
    return run("train_on_gpu.py", "train", *places, "--minutes", 10, "--device", "cpu", *fields, *options)


def test_a_run_goes_on_from_what_came_back(taught):
    assert "all 2 steps are done" in train(taught, "one", 2)
    back = taught / "one.out"
    assert load_checkpoint(back / "weights-00000002.onnx").card.name
    assert "all 4 steps are done" in train(taught, "one", 4)
    assert "all 6 steps are done" in train(taught, "other", 6, "--resume", back)
    rows = [json.loads(line) for line in (taught / "other.out/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5, 6]


def test_a_damaged_piece_is_named(taught):
    piece = sorted((taught / "p").glob("*.tar"))[0]
    piece.write_bytes(piece.read_bytes()[:-1] + b"x")
    with pytest.raises(AssertionError, match=f"damaged: {piece.name}"):
        run("train_on_gpu.py", "teach", taught / "p", taught / "again", "--device", "cpu")
