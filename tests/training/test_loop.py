import errno
import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import binary_cross_entropy

from training.pairs import write_pairs
from u2net.errors import ConfigMismatch, TrainingDiverged, U2NetError
from u2net.net.model import VARIANTS, U2Net
from u2net.net.weight_files import load_checkpoint
from u2net.training import loop, snapshot
from u2net.training.config import TrainConfig
from u2net.training.loop import train
from u2net.training.run_folder import read_rows
from u2net.training.snapshot import load_newest

pytestmark = pytest.mark.usefixtures("lean")


def _rows(run: Path) -> list[dict]:
    return read_rows(run / "metrics.jsonl")


def _losses(run: Path) -> list[float]:
    return [row["loss"] for row in _rows(run) if "loss" in row]


def _steps(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-*"))


def _weights(run: Path) -> dict[str, torch.Tensor]:
    """Those of the newest snapshot."""
    return {k: v for k, v in load_newest(run / "checkpoints", pytest.fail).tensors.items() if k.startswith("network/")}


# ---- The recipe ----------------------------------------------------------------------------------------------


def _as_authors_do(root: Path, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of 72×72 pixels: the middle cut out, divided by the maximum, normalised; and their masks."""
    images, masks = [], []
    for name in names:
        file = f"{name.partition('/')[2]}.png"
        pixels = np.asarray(Image.open(root / "images" / file), dtype=np.float64)[4:68, 4:68]
        pixels = (pixels / pixels.max() - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        images.append(pixels.transpose(2, 0, 1))
        masks.append(np.asarray(Image.open(root / "masks" / file))[None, 4:68, 4:68] / 255.0)
    return torch.tensor(np.stack(images), dtype=torch.float32), torch.tensor(np.stack(masks), dtype=torch.float32)


def test_three_steps_are_those_of_the_papers_recipe_written_plainly(configured, tmp_path, monkeypatch):
    root = write_pairs(tmp_path / "square", 12, (72, 72))
    keys: list[list[str]] = []
    step = loop._Training._step

    def noted(self, batches):
        step(self, batches)
        keys.append(self.readings[-1].pictures)

    monkeypatch.setattr(loop._Training, "_step", noted)
    config = configured(data=(str(root),), max_steps=3, holdout=0.0, size=72, crop=64, batch_size=4, lr=1e-5)
    train(config, tmp_path / "run")

    torch.manual_seed(config.seed)
    network = U2Net(VARIANTS["u2netp"]).train()
    # At a higher rate the plain recipe departs from itself in double precision: Adam's first steps have the size of the
    # rate whatever the gradient, that of biases before normalisation too, which is rounding and nothing else.
    adam = torch.optim.Adam(network.parameters(), lr=1e-5, betas=(0.9, 0.999), eps=1e-8, foreach=False, fused=False)
    losses = []
    for names in keys:
        images, masks = _as_authors_do(root, names)
        maps = [torch.sigmoid(logits) for logits in network(images)]
        loss = sum(binary_cross_entropy(one, masks) for one in maps)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert len({name for names in keys for name in names}) == 12
    np.testing.assert_allclose(_losses(tmp_path / "run"), losses, rtol=1e-5)


def test_two_batches_of_two_make_the_step_of_one_batch_of_four(configured, tmp_path):
    frozen = {"freeze_norm": True, "max_steps": 3, "clip_norm": 0.5}
    train(configured(batch_size=4, **frozen), tmp_path / "four")
    train(configured(batch_size=2, accumulate=2, **frozen), tmp_path / "two")
    np.testing.assert_allclose(_losses(tmp_path / "two"), _losses(tmp_path / "four"), rtol=1e-5)
    norms = [[row["norm"] for row in _rows(tmp_path / name) if "norm" in row] for name in ("two", "four")]
    np.testing.assert_allclose(*norms, rtol=1e-4)
    two, four = _weights(tmp_path / "two"), _weights(tmp_path / "four")
    for key, value in four.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=2e-3, msg=key)


def test_a_frozen_stage_is_as_it_began(configured, tmp_path):
    config = configured(freeze=("encoder.0",))
    train(config, tmp_path / "run")
    torch.manual_seed(config.seed)
    begun = U2Net(VARIANTS["u2netp"]).state_dict()
    for key, value in _weights(tmp_path / "run").items():
        key = key.removeprefix("network/")
        assert torch.equal(value, begun[key]) == key.startswith("encoder.0."), key


VARIATIONS = {
    "bf16": {"precision": "bf16"},
    "checkpointing": {"checkpointing": True},
    "deterministic": {"deterministic": True},
}


def test_other_ways_to_compute_give_nearly_the_same_losses(configured, tmp_path):
    train(configured(max_steps=3), tmp_path / "plain")
    for name, fields in VARIATIONS.items():
        train(configured(max_steps=3, **fields), tmp_path / name)
        tolerance = 3e-2 if name == "bf16" else 1e-4
        losses = _losses(tmp_path / name), _losses(tmp_path / "plain")
        np.testing.assert_allclose(*losses, rtol=tolerance, err_msg=name)
        assert not torch.are_deterministic_algorithms_enabled()


def test_however_maps_lie_in_memory_the_losses_are_nearly_the_same(configured, tmp_path, monkeypatch):
    losses = []
    for layout in (torch.contiguous_format, torch.channels_last):
        monkeypatch.setattr(snapshot, "find_layout", lambda _, layout=layout: layout)
        train(configured(max_steps=3), tmp_path / str(layout))
        losses.append(_losses(tmp_path / str(layout)))
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, as it compiles
def test_the_compiled_network_gives_nearly_the_same_losses(configured, tmp_path):
    train(configured(max_steps=3), tmp_path / "plain")
    train(configured(max_steps=3, compile=True), tmp_path / "compiled")
    np.testing.assert_allclose(_losses(tmp_path / "compiled"), _losses(tmp_path / "plain"), rtol=1e-4)


def test_wherever_pictures_are_kept_the_losses_are_the_same(configured, tmp_path):
    losses = set()
    for cache in ("none", "memory", "disk", "device"):
        train(configured(cache=cache, augment="modern", max_steps=3), tmp_path / cache)
        losses.add(tuple(_losses(tmp_path / cache)))
    assert len(losses) == 1


def test_fp16_is_refused_on_a_cpu(configured, tmp_path):
    with pytest.raises(ValueError, match="fp16 is for GPUs"):
        train(configured(precision="fp16"), tmp_path / "run")


@pytest.mark.parametrize("device", ["cuda:77", "gpu", "mps"])
def test_a_device_that_is_not_there_is_told_in_one_line(configured, tmp_path, device):
    with pytest.raises(ValueError, match=f"device '{device}' cannot be used") as caught:
        train(configured(device=device), tmp_path / "run")
    assert "\n" not in str(caught.value)


# ---- How long ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "num_steps"),
    [
        ({"epochs": 2.0, "max_steps": 0}, 6),  # 6 pairs are left, in batches of 2
        ({"epochs": 0.5, "max_steps": 0}, 2),
        ({"epochs": 1.0, "max_steps": 0, "accumulate": 2}, 2),
        ({"epochs": 100.0, "max_steps": 3}, 3),
        ({"epochs": 1e-6, "max_steps": 0}, 1),
    ],
)
def test_a_run_is_as_long_as_was_asked(configured, tmp_path, fields, num_steps):
    assert train(configured(**fields), tmp_path / "run").num_steps == num_steps


def test_whole_epochs_are_not_longer_for_rounding(configured, tmp_path, monkeypatch):
    write_pairs(tmp_path / "29", 29)
    config = configured(data=(str(tmp_path / "29"),), batch_size=7, epochs=7.0, max_steps=0, holdout=0.0)
    monkeypatch.setattr(loop._Training, "run", lambda self, *_: self.num_steps)
    assert train(config, tmp_path / "run") == 29  # 7 × 29 / 7; in floating point, 7 × (29 / 7) is more


def test_a_finished_run_called_again_returns_at_once_with_the_same_result(configured, tmp_path, monkeypatch):
    first = train(configured(), tmp_path / "run")
    rows, model = _rows(tmp_path / "run"), first.model.read_bytes()
    monkeypatch.setattr(loop._Training, "_step", lambda *_: pytest.fail("took a step"))
    monkeypatch.setattr(loop._Training, "_validate", lambda *_: pytest.fail("validated"))
    assert train(configured(), tmp_path / "run") == first
    assert (_rows(tmp_path / "run"), first.model.read_bytes()) == (rows, model)


def test_a_finished_run_can_be_made_longer(configured, tmp_path):
    train(configured(max_steps=2), tmp_path / "a")
    train(configured(max_steps=5), tmp_path / "a")
    train(configured(max_steps=5), tmp_path / "b")
    assert _losses(tmp_path / "a") == _losses(tmp_path / "b")


def test_a_run_that_is_told_to_be_shorter_than_it_is_ends_at_once(configured, tmp_path, monkeypatch):
    _cut_off(configured(checkpoint_every=1, validate_every=100, max_steps=6), tmp_path / "run", 4)
    result = train(configured(checkpoint_every=1, validate_every=100, max_steps=2), tmp_path / "run")
    assert result.num_steps == 3
    assert result.model.is_file()


def _failing_at(number: int):
    step = loop._Training._step

    def failing(self, batches):
        if self.state.step + 1 == number:
            raise ZeroDivisionError
        step(self, batches)

    return failing


def _cut_off(config: TrainConfig, run: Path, step: int) -> None:
    """Have a run end like a bug would end it, within a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Training, "_step", _failing_at(step))
        with pytest.raises(ZeroDivisionError):
            train(config, run)


def test_patience_ends_a_run_for_good(configured, tmp_path, monkeypatch):
    scores = iter([0.5, 0.6, 0.6, 0.55, 0.9])
    evaluate_ = loop.evaluate_together
    monkeypatch.setattr(
        loop,
        "evaluate_together",
        lambda *of: [replace(one, scores=one.scores | {"maxF": next(scores)}) for one in evaluate_(*of)],
    )
    config = configured(max_steps=20, validate_every=1, patience=2)
    result = train(config, tmp_path / "run")
    assert result.num_steps == 4
    assert result.scores["holdout maxF"] == 0.6
    assert _steps(tmp_path / "run") == ["step-00000004"]
    monkeypatch.setattr(loop._Training, "_step", lambda *_: pytest.fail("took a step"))
    assert train(config, tmp_path / "run") == result


@pytest.mark.parametrize("best_by", ["maxF", "MAE"])
def test_the_best_weights_are_those_of_the_best_validation(configured, tmp_path, monkeypatch, best_by):
    saved = []
    save_best = loop.Run.save_best
    monkeypatch.setattr(loop.Run, "save_best", lambda self, *of: (saved.append(of[1].scores), save_best(self, *of)))
    result = train(configured(max_steps=6, validate_every=1, best_by=best_by, lr=0.01, ema=0.5), tmp_path / "run")
    scores = [row["validation"]["holdout"][best_by] for row in _rows(tmp_path / "run") if "validation" in row]
    assert len(scores) == 6
    best = min(scores) if best_by == "MAE" else max(scores)
    assert result.scores[f"holdout {best_by}"] == pytest.approx(best, abs=5e-5)
    assert saved[-1] == result.scores == load_checkpoint(result.weights).card.scores


# ---- What cannot go on ---------------------------------------------------------------------------------------


def _not_finite_at(steps: tuple[int, ...], monkeypatch) -> None:
    """Have the first convolution overflow at the nth steps of the process, as narrow arithmetic does."""
    calls = [0]

    def overflow(_module, _inputs, output):
        calls[0] += 1
        return output * float("inf") if calls[0] in steps else output

    build = loop.new_network

    def poisoned(config):
        network, transform = build(config)
        network.encoder[0].conv_in.conv.register_forward_hook(overflow)
        return network, transform

    deepcopy = snapshot.Average.__init__

    def without_hooks(self, network, decay):
        deepcopy(self, network, decay)
        self.network.encoder[0].conv_in.conv._forward_hooks.clear()

    monkeypatch.setattr(loop, "new_network", poisoned)
    monkeypatch.setattr(snapshot.Average, "__init__", without_hooks)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_pictures(configured, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        _not_finite_at((3,), patch)
        with pytest.raises(TrainingDiverged, match="the loss of step 3 is not finite") as caught:
            train(configured(checkpoint_every=1, validate_every=1), tmp_path / "run")
    dumped = json.loads((tmp_path / "run" / "diverged.json").read_text())
    assert dumped["step"] == 3
    assert len(dumped["pictures"]) == 2
    assert all(f"set/picture-0{i}" in str(caught.value) for i in (name[-1] for name in dumped["pictures"]))
    assert "\n" not in str(caught.value)
    assert _steps(tmp_path / "run") == ["step-00000001", "step-00000002"]
    assert all(value.isfinite().all() for value in _weights(tmp_path / "run").values())

    result = train(configured(checkpoint_every=1, validate_every=1), tmp_path / "run")  # the trouble is over
    train(configured(checkpoint_every=1, validate_every=1), tmp_path / "undisturbed")
    assert result.num_steps == 4
    assert _losses(tmp_path / "run") == _losses(tmp_path / "undisturbed")


def test_a_changed_configuration_is_refused_with_what_differs(configured, tmp_path):
    train(configured(max_steps=1), tmp_path / "run")
    config = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(ConfigMismatch, match="was started with another configuration") as caught:
        train(configured(max_steps=1, lr=0.5, seed=7), tmp_path / "run")
    assert caught.value.differences == ["lr: 0.001 -> 0.5", "seed: 0 -> 7"]
    assert (tmp_path / "run" / "config.json").read_bytes() == config


@pytest.mark.parametrize(
    "fault", [{"freeze": ("stage1",)}, {"data": ("nowhere",)}, {"init": "nothing.pth"}, {"precision": "fp16"}]
)
def test_a_run_that_could_not_begin_may_be_begun_otherwise(configured, tmp_path, fault):
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own
        train(configured(**fault), tmp_path / "run")
    assert train(configured(max_steps=1), tmp_path / "run").num_steps == 1


@pytest.mark.parametrize("content", ["", "{}}", '{"lr": 3, "rate": 4}'])
def test_a_config_that_is_damaged_is_told_in_one_line(configured, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    with pytest.raises(ValueError, match="not a configuration") as caught:
        train(configured(), tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_run_with_another_process_in_it_is_left_alone(configured, tmp_path):
    def again(_num_steps, _row):
        with pytest.raises(U2NetError, match="is being trained in by another process"):
            train(configured(), tmp_path / "run")

    assert train(configured(max_steps=1), tmp_path / "run", watch=again).num_steps == 1


def test_the_folder_may_not_be_a_file(configured, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(OSError, match="exists"):
        train(configured(), tmp_path / "run")


# ---- Going on -------------------------------------------------------------------------------------------------


def test_rows_come_once_and_in_order_however_often_a_run_was_cut_off(configured, tmp_path):
    config = configured(max_steps=6, checkpoint_every=2, validate_every=3)
    for step in (2, 4, 6):
        _cut_off(config, tmp_path / "run", step)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # what a full disk or a power cut leaves
    train(config, tmp_path / "run")
    rows = _rows(tmp_path / "run")
    assert [(row["step"], "validation" in row) for row in rows] == [
        (1, False), (2, False), (3, False), (3, True), (4, False), (5, False), (6, False), (6, True)
    ]  # fmt: skip
    train(config, tmp_path / "undisturbed")
    assert _losses(tmp_path / "run") == _losses(tmp_path / "undisturbed")


def test_rows_tell_what_happened(configured, tmp_path):
    seen = []
    train(configured(max_steps=3, lr=0.5, warmup_steps=1), tmp_path / "run", watch=lambda *row: seen.append(row))
    rows = _rows(tmp_path / "run")
    assert seen == [(3, row) for row in rows]
    assert [row["lr"] for row in rows if "lr" in row] == [0.25, 0.5, 0.5]
    assert [row["epoch"] for row in rows if "epoch" in row] == [0.3333, 0.6667, 1.0]
    assert all(math.isfinite(row[key]) for row in rows[:3] for key in ("loss", "fused", "norm", "images_per_s"))
    assert all(row["loss"] > row["fused"] > 0 for row in rows[:3])


def test_without_validation_the_best_are_the_last(configured, tmp_path):
    result = train(configured(holdout=0.0), tmp_path / "run")
    assert result.scores == {}
    saved = load_checkpoint(result.weights).network.state_dict()
    assert all(
        torch.equal(saved[key.removeprefix("network/")], value) for key, value in _weights(tmp_path / "run").items()
    )


def _content(folder) -> dict:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_run_whose_snapshots_cannot_be_read_stops_and_changes_nothing(configured, tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, "refused for a moment")

    config = configured(checkpoint_every=2)
    train(config, tmp_path / "run")
    before = _content(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "sha256_of", refuse)
        with pytest.raises(OSError, match="refused for a moment: it may be sound, so the run stops"):
            train(config, tmp_path / "run")
    assert _content(tmp_path / "run") == before
    assert train(config, tmp_path / "run").num_steps == 4


def test_a_run_without_a_sound_snapshot_stops_and_changes_nothing(configured, tmp_path):
    config = configured(checkpoint_every=2)
    train(config, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        (path / "SHA256SUMS").write_text("")
    before = _content(tmp_path / "run")
    with pytest.raises(U2NetError, match=r"no checkpoint of .* is sound: take .*checkpoints away to begin anew"):
        train(config, tmp_path / "run")
    assert _content(tmp_path / "run") == before


def test_a_snapshot_that_was_passed_over_stays_however_many_follow(configured, tmp_path):
    train(configured(max_steps=2, checkpoint_every=1), tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "step-00000002"
    (newest / "SHA256SUMS").write_text("")
    before = _content(newest)
    train(configured(max_steps=6, checkpoint_every=1, keep=1), tmp_path / "run")
    assert _content(newest.with_name("step-00000002.damaged")) == before


def test_a_file_in_place_of_the_snapshots_is_told_before_the_first_step(configured, tmp_path, monkeypatch):
    train(configured(max_steps=1), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "checkpoints").touch()
    monkeypatch.setattr(loop._Training, "_step", lambda *_: 1 / 0)
    with pytest.raises(FileExistsError):
        train(configured(max_steps=1), tmp_path / "run")


def test_a_damaged_snapshot_costs_no_more_than_the_steps_since_the_one_before(configured, tmp_path, caplog):
    config = configured(max_steps=4, checkpoint_every=1, validate_every=2)
    train(config, tmp_path / "run")
    losses, weights = _losses(tmp_path / "run"), _weights(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step-00000004" / "state.safetensors").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        train(config, tmp_path / "run")
    assert [message[:24] for message in caplog.messages] == ["step-00000004 is damaged"]
    assert _losses(tmp_path / "run") == losses
    assert all(torch.equal(value, weights[key]) for key, value in _weights(tmp_path / "run").items())
