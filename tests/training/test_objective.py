from dataclasses import replace
from pathlib import Path

import pytest
import torch

from u2net.errors import InvalidModel
from u2net.net.checkpoint import load_checkpoint
from u2net.training import TrainConfig, objective
from u2net.training.loop import train

pytestmark = pytest.mark.usefixtures("lean")


def test_weights_of_another_number_of_classes_keep_all_but_the_outputs(monkeypatch):
    monkeypatch.undo()
    network, _ = objective.new_network(TrainConfig(init="u2netp", classes=("background", "red", "green")))
    known, _ = objective.new_network(TrainConfig(init="u2netp"))
    ours, theirs = network.state_dict(), known.state_dict()
    taken = {key for key in ours if ours[key].shape == theirs[key].shape and torch.equal(ours[key], theirs[key])}
    assert ours.keys() - taken == {
        f"{part}.{kind}" for part in ("fuse", *(f"sides.{i}" for i in range(6))) for kind in ("weight", "bias")
    }


def test_weights_of_the_same_classes_are_taken_whole(configured, tmp_path):
    first = train(configured(max_steps=1), tmp_path / "first")
    network, transform = objective.new_network(configured(init=str(first.weights), feeding="checkpoint"))
    card = load_checkpoint(first.weights).card
    saved = load_checkpoint(first.weights).network.state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())
    assert replace(transform, size=card.transform.size) == card.transform


@pytest.mark.parametrize(("model", "init"), [("u2net", "u2netp"), ("u2net", "tiny"), ("u2netp", "broken")])
def test_weights_that_do_not_fit_are_told_in_one_line(configured, tmp_path, model, init):
    if init == "tiny":
        init = str(train(configured(max_steps=1), tmp_path / "first").weights)
    elif init == "broken":
        init = str(tmp_path / "broken.safetensors")
        Path(init).write_bytes(b"nonsense")
    with pytest.raises(InvalidModel) as caught:
        train(configured(model=model, init=init), tmp_path / "run")
    assert "\n" not in str(caught.value)
