from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.conftest import TINY, small_config
from training.pairs import write_pairs
from u2net import evaluate, new_session
from u2net.net.model import VARIANTS
from u2net.training import TrainConfig
from u2net.training.examples import open_examples
from u2net.training.loop import train
from u2net.training.run_folder import TrainResult, read_rows

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, TrainConfig, TrainResult]:
    """The folder of a run, what it was told, and what it returned."""
    folder = tmp_path_factory.mktemp("trained")
    rhythm = {"checkpoint_every": 2, "sample_every": 2, "validate_every": 2, "keep": 1}
    config = small_config(write_pairs(folder / "set"), max_steps=4, lr=0.01, **rhythm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "u2netp", TINY)
        return folder / "run", config, train(config, folder / "run")


def test_a_run_leaves_what_it_should(run):
    folder, *_ = run
    left = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "events" not in path.parts
    }
    checkpoint = {
        f"checkpoints/step-00000004/{name}" for name in ("SHA256SUMS", "state.safetensors", "weights.safetensors")
    }
    files = {
        "config.json",
        "data.json",
        "metrics.jsonl",
        "curves.png",
        "best.safetensors",
        "model.onnx",
        "README.md",
        ".lock",
    }
    samples = {"samples/step-00000002.jpg", "samples/step-00000004.jpg"}
    assert left == checkpoint | files | samples | {"cache/pairs.json"}
    assert list((folder / "events").iterdir())
    assert TrainConfig.from_json((folder / "config.json").read_text()).max_steps == 4
    assert "4 in" in (folder / "README.md").read_text()


def test_the_exported_model_scores_what_was_logged(run):
    _, config, result = run
    _, (held_out,) = open_examples(config)
    scores = evaluate(held_out, new_session(result.model)).scores
    assert scores.keys() == {name.removeprefix("holdout ") for name in result.scores}
    for name, score in scores.items():
        assert score == pytest.approx(result.scores[f"holdout {name}"], abs=2e-4), name


def test_a_run_returns_what_it_came_to(run):
    folder, _, result = run
    assert isinstance(result, TrainResult)
    assert (result.weights, result.model) == (folder / "best.safetensors", folder / "model.onnx")
    assert {"holdout maxF", "holdout MAE"} <= result.scores.keys()


def test_validation_on_a_data_set_of_ones_own(configured, root, tmp_path):
    other = write_pairs(tmp_path / "other", 3)
    result = train(configured(validation=(str(other),), max_steps=1), tmp_path / "run")
    assert evaluate(other, new_session(result.model)).scores["MAE"] == pytest.approx(
        result.scores["other MAE"], abs=2e-4
    )


# ---- Several classes -----------------------------------------------------------------------------------------


def _write_classes(root: Path, num: int = 6) -> Path:
    """Pictures with a red and a green square, and palette masks of indices 1 and 2 there; a border is index 255."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(num):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 60, (40, 40, 3), dtype=np.uint8)
        mask = np.zeros((40, 40), dtype=np.uint8)
        for label, channel in ((1, 0), (2, 1)):
            top, left = rng.integers(2, 22), (3 if label == 1 else 22)
            mask[top : top + 14, left : left + 14] = label
            image[top : top + 14, left : left + 14, channel] += 180
        mask[0] = 255
        Image.fromarray(image).save(root / "images" / f"{index}.png")
        picture = Image.fromarray(mask).convert("P")
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
        picture.save(root / "masks" / f"{index}.png")
    return root


CLASSES = ("background", "red", "green")


def test_several_classes_are_trained_scored_and_exported(configured, tmp_path):
    root = _write_classes(tmp_path / "classes")
    config = configured(data=(str(root),), classes=CLASSES, max_steps=40, lr=0.02, size=40, crop=40, ema=0.5)
    result = train(config, tmp_path / "run")
    assert {"holdout mIoU", "holdout red", "holdout green"} <= {name.replace("IoU ", "") for name in result.scores}
    session = new_session(result.model)
    assert session.card.classes == CLASSES
    labels = session.labels(root / "images" / "0.png")
    truth = np.asarray(Image.open(root / "masks" / "0.png"))
    assert labels.shape == truth.shape
    assert (labels == truth)[truth != 255].mean() > 0.9
    _, (held_out,) = open_examples(config)
    assert evaluate(held_out, session).scores["mIoU"] == pytest.approx(result.scores["holdout mIoU"], abs=2e-4)


@pytest.mark.usefixtures("lean")
def test_the_index_to_ignore_is_ignored_in_validation_too(configured, tmp_path):
    root = _write_classes(tmp_path / "classes")
    for path in (root / "masks").iterdir():
        indices = np.asarray(Image.open(path)).copy()
        indices[indices == 255] = 9
        Image.fromarray(indices).save(path)
    result = train(configured(data=(str(root),), classes=CLASSES, ignore_index=9, max_steps=1), tmp_path / "run")
    assert "holdout mIoU" in result.scores


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[]", b'{"loss": 1}', b"7", b'{"step": "2"}', b'{"step": 2, "lo'])
def test_a_damaged_row_costs_no_other(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    assert read_rows(path) == [{"step": 1}, {"step": 3}]
