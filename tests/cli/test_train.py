import importlib.util
import logging
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from needs import needs_proc
from PIL import Image
from training.pairs import write_pairs

from u2net import training
from u2net.cli import cli
from u2net.errors import MissingExtra
from u2net.training import FINETUNE, MODERN, PAPER, PRESETS, TrainConfig

pytest.importorskip("torch")

SMALL = ["--preset=paper", "--size=40", "--crop=32", "--batch-size=2", "--workers=0", "--device=cpu", "--max-steps=1"]


@pytest.fixture
def root(tmp_path) -> Path:
    return write_pairs(tmp_path / "set")


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Runs the command line with a `train` that only takes note of what it is told."""
    calls = []

    def note(config, run, *, watch, progress):
        calls.append((config, run))
        return TrainResult(1, {"set maxF": 0.5}, run / "best.safetensors", run / "model.onnx")

    from u2net.training.run_folder import TrainResult

    monkeypatch.setattr(training, "train", note, raising=False)

    def invoke(*arguments):
        calls.clear()
        result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), *map(str, arguments)])
        assert result.exit_code == 0, result.output
        ((config, run),) = calls
        assert run == tmp_path / "run"
        return config

    return invoke


# ---- Options -------------------------------------------------------------------------------------------------


def test_help_shows_every_field_and_what_it_means():
    result = CliRunner().invoke(cli, ["train", "--help"], terminal_width=10_000)
    for field in fields(TrainConfig):
        if field.name != "data":
            (line,) = (
                line for line in result.output.splitlines() if f"--{field.name.replace('_', '-')} " in f"{line} "
            )
            assert len(line.split("  ")[-1]) > 15, field.name


VALUES = {
    "weights": ("2,0.5", (2.0, 0.5)), "mask_suffix": ("_mask", "_mask"), "holdout": ("0.1", 0.1),
    "on_bad": ("skip", "skip"),
    "classes": ("a, b,c", ("a", "b", "c")), "ignore_index": ("7", 7), "model": ("u2net", "u2net"),
    "init": ("some.pth", "some.pth"), "feeding": ("antialiased", "antialiased"), "size": ("300", 300),
    "crop": ("64", 64), "augment": ("none", "none"), "bce": ("0.5", 0.5), "iou": ("2", 2.0), "ssim": ("3", 3.0),
    "edge": ("4", 4.0), "side_weights": ("1,2,3,4,5,6,0", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0)),
    "teachers": ("u2netp,a.onnx", ("u2netp", "a.onnx")),
    "looks": ("smaller,upside-down", ("smaller", "upside-down")),
    "optimizer": ("adamw", "adamw"), "lr": ("1e-2", 0.01), "schedule": ("cosine", "cosine"),
    "warmup_steps": ("5", 5), "weight_decay": ("0.1", 0.1), "clip_norm": ("9", 9.0), "ema": ("0.5", 0.5),
    "batch_size": ("3", 3), "accumulate": ("4", 4), "epochs": ("1.5", 1.5), "max_steps": ("9", 9), "patience": ("6", 6),
    "seed": ("5", 5), "device": ("cpu", "cpu"), "precision": ("bf16", "bf16"), "workers": ("0", 0),
    "cache": ("disk", "disk"), "best_by": ("MAE", "MAE"), "validate_every": ("8", 8), "checkpoint_every": ("7", 7),
    "sample_every": ("6", 6), "keep": ("5", 5),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_an_option_reaches_the_configuration_and_nothing_else_changes(told, root, name):
    given, expected = VALUES[name]
    several = {"data": (str(root), str(root))} if name == "weights" else {"data": (str(root),)}
    config = told(*several["data"], "--preset", "paper", f"--{name.replace('_', '-')}", given)
    assert asdict(config) == asdict(PAPER) | several | {name: expected}


@pytest.mark.parametrize("field", [field.name for field in fields(TrainConfig) if field.type == "bool"])
@pytest.mark.parametrize("value", [True, False])
def test_a_switch_reaches_the_configuration(told, root, field, value):
    flag = f"--{'' if value else 'no-'}{field.replace('_', '-')}"
    assert getattr(told(root, flag), field) is value


def test_options_that_may_be_repeated_make_lists(told, root, tmp_path):
    other = write_pairs(tmp_path / "other")
    config = told(
        root, other, "--validation", root, "--validation", other, "--freeze", "sides", "--freeze", "encoder.0"
    )
    assert config.data == config.validation == (str(root), str(other))
    assert config.freeze == ("sides", "encoder.0")


def test_pictures_and_masks_may_lie_apart(told, root):
    config = told("--images", root / "images", "--masks", root / "masks")
    assert (config.images, config.masks, config.data) == (str(root / "images"), str(root / "masks"), ())


def test_every_option_was_tried():
    switches = {field.name for field in fields(TrainConfig) if field.type == "bool"}
    others = {"data", "validation", "freeze", "images", "masks", "class_weights"}
    assert VALUES.keys() | switches | others == {field.name for field in fields(TrainConfig)}


@pytest.mark.parametrize(("preset", "expected"), [(name, config) for name, config in PRESETS.items()])
def test_a_preset_is_a_recipe_to_start_from(told, root, preset, expected):
    assert told(root, "--preset", preset) == replace(expected, data=(str(root),))


def test_without_a_preset_the_recipe_is_the_modern_one(told, root):
    assert told(root) == replace(MODERN, data=(str(root),))


def test_a_recipe_may_come_from_a_file(told, root, tmp_path):
    (tmp_path / "mine.json").write_text(replace(FINETUNE, seed=9).to_json(), encoding="utf-8")
    config = told(root, "--config", tmp_path / "mine.json", "--lr", "0.5")
    assert config == replace(FINETUNE, seed=9, lr=0.5, data=(str(root),))


def test_a_run_alone_goes_on_as_it_was_begun(told, root, tmp_path):
    begun = replace(FINETUNE, seed=9, data=(str(root),))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(begun.to_json(), encoding="utf-8")
    assert told() == begun
    assert told("--keep", "9") == replace(begun, keep=9)


def test_a_run_that_was_begun_keeps_the_batch_size_that_was_found(told, root, tmp_path):
    begun = replace(PAPER, batch_size=17, data=(str(root),))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(begun.to_json(), encoding="utf-8")
    assert told(root, "--preset", "paper", "--find-batch") == begun


def test_what_came_of_it_is_told_in_one_line(told, tmp_path, root, monkeypatch):
    told(root)
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root)])
    assert result.output == f"trained 1 steps: set maxF 0.500; wrote {tmp_path / 'run' / 'model.onnx'}\n"
    monkeypatch.setenv("RANK", "1")
    assert CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root)]).output == ""


# ---- What makes no sense -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--lr", "-1"], "lr is 0 to"),
        (["--crop", "400"], "crop is at most size"),
        (["--side-weights", "1,2"], "side_weights are seven"),
        (["--side-weights", "1,x"], "side_weights are numbers with commas"),
        (["--classes", "one"], "classes are"),
        (["--weights", "1,2,3"], "weights are as many as data"),
        (["--preset", "paper", "--config", "FILE"], "--preset or --config"),
        (["--config", "FILE"], "unknown field 'rate'"),
        (["--feeding", "checkpoint"], "needs init"),
    ],
)
def test_values_that_make_no_sense_are_one_line_and_exit_code_2(root, tmp_path, options, word):
    (tmp_path / "mine.json").write_text('{"rate": 1}')
    options = [str(tmp_path / "mine.json") if option == "FILE" else option for option in options]
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root), *options])
    assert result.exit_code == 2
    assert (result.output.count("\n"), result.output[:7]) == (1, "u2net: ")
    assert word in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "options", [["--model", "u3net"], ["--lr", "fast"], ["--validation", "nowhere"], ["--rate", "1"]]
)
def test_options_that_cannot_be_read_are_exit_code_2(root, tmp_path, options):
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root), *options])
    assert result.exit_code == 2
    assert f"{options[0]}" in result.output.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used"),
        (["--freeze", "stage1"], "no part 'stage1'"),
        (["--precision", "fp16"], "fp16 is for GPUs"),
    ],
)
def test_what_device_or_network_cannot_do_is_one_line_and_exit_code_2(root, tmp_path, options, word):
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root), *SMALL, *options])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert word in result.output


def test_a_run_that_was_begun_otherwise_is_told_with_what_differs(root, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(replace(PAPER, data=(str(root),), seed=3).to_json())
    arguments = ["train", str(tmp_path / "run"), str(root), "--preset=paper", "--precision=fp32", "--lr=0.5"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    first, *lines = result.output.splitlines()
    assert "was started with another configuration" in first
    assert lines == ["  lr: 0.001 -> 0.5", "  seed: 3 -> 0", "  precision: 'auto' -> 'fp32'"]


# ---- Data ----------------------------------------------------------------------------------------------------


def _plant(root: Path) -> set[str]:
    """Five faults in fifty pairs."""
    write_pairs(root, 50)
    (root / "masks" / "picture-05.png").unlink()
    Image.new("L", (7, 9)).save(root / "masks" / "picture-15.png")
    (root / "images" / "picture-25.png").write_bytes(b"no picture")
    content = (root / "images" / "picture-35.png").read_bytes()
    (root / "images" / "picture-35.png").write_bytes(content[: len(content) // 2])
    (root / "images" / "picture-45.png").write_bytes(b"")
    return {f"set/picture-{number}5" for number in range(5)}


def test_pairs_that_cannot_be_used_are_named_and_may_be_left_out(tmp_path, monkeypatch):
    from training.conftest import TINY

    from u2net.net.model import VARIANTS

    expected = _plant(tmp_path / "set")
    arguments = ["train", str(tmp_path / "run"), str(tmp_path / "set"), *SMALL, "--holdout=0.1"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert {line.split(": ")[1] for line in lines[:-1]} == expected
    assert lines[-1] == "u2net: 5 pairs cannot be used; --on-bad skip leaves them out"

    monkeypatch.setitem(VARIANTS, "u2netp", TINY)
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a process of its own
    result = CliRunner().invoke(cli, [*arguments, "--on-bad=skip"])
    assert result.exit_code == 0, result.stderr
    left_out = [line for line in result.stderr.splitlines() if line.startswith("u2net: left out ")]
    assert {line.split(": ")[1].removeprefix("left out ") for line in left_out} == expected
    assert "trained 1 steps: holdout maxF " in result.stdout


@pytest.mark.parametrize("kind", ["empty", "pictures alone", "strangers"])
def test_folders_without_pairs_are_one_line_and_exit_code_1(root, tmp_path, kind):
    if kind == "pictures alone":
        for path in (root / "masks").iterdir():
            path.unlink()
    elif kind == "strangers":
        for path in (root / "masks").iterdir():
            path.rename(path.with_name(f"other-{path.name}"))
    else:
        root = tmp_path / "nothing"
        root.mkdir()
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root), *SMALL])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert result.output.startswith("u2net: ")
    assert root.name in result.output
    assert "num_samples" not in result.output


def test_no_folder_at_all_is_one_line(tmp_path):
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run")])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "nothing to train on: name a folder" in result.output


@pytest.mark.parametrize("content", [b"nonsense", b""])
def test_weights_that_cannot_be_read_are_one_line_and_exit_code_1(root, tmp_path, content):
    (tmp_path / "mine.safetensors").write_bytes(content)
    arguments = ["train", str(tmp_path / "run"), str(root), *SMALL, "--init", str(tmp_path / "mine.safetensors")]
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)


# ---- Packages and programs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["torch", "onnx", "safetensors", "matplotlib", "tensorboard"])
def test_a_missing_package_is_said_with_the_extra_to_install(root, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install 'u2net\[train\]'"):
        training.__getattr__("train")
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root)])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "pip install 'u2net[train]'" in result.output


def test_there_is_nothing_else_in_the_package():
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        training.fit  # noqa: B018


def test_a_program_without_its_source_still_has_its_options(monkeypatch):
    def no_source(_kind):
        raise OSError("could not get source code")

    spec = importlib.util.find_spec("u2net.cli.train")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("inspect.getsource", no_source)
    spec.loader.exec_module(module)
    assert "--batch-size" in CliRunner().invoke(module.train, ["--help"]).output


@pytest.mark.slow
@needs_proc
def test_the_largest_batch_is_found(told, root):
    assert told(root, "--preset", "paper", "--device", "cpu", "--find-batch").batch_size >= 1


def test_the_largest_batch_is_not_looked_for_by_several_processes(root, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(cli, ["train", str(tmp_path / "run"), str(root), "--find-batch"])
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "--batch-size" in result.output
