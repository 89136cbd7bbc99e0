from dataclasses import replace
from functools import cache
from pathlib import Path

import onnxruntime
import pytest
import torch
from PIL import Image

from u2net.errors import InvalidModel
from u2net.models.transform import Transform
from u2net.models.zoo import resolve
from u2net.net.weight_files import load_checkpoint
from u2net.training import TrainConfig, objective
from u2net.training.loop import train
from u2net.training.objective import Teachers

# ---- Weights to begin with ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("read_once")
def test_weights_of_another_number_of_classes_keep_all_but_the_outputs():
    network, _ = objective.new_network(TrainConfig(init="u2netp", classes=("background", "red", "green")))
    known, _ = objective.new_network(TrainConfig(init="u2netp"))
    ours, theirs = network.state_dict(), known.state_dict()
    taken = {key for key in ours if ours[key].shape == theirs[key].shape and torch.equal(ours[key], theirs[key])}
    assert ours.keys() - taken == {
        f"{part}.{kind}" for part in ("fuse", *(f"sides.{i}" for i in range(6))) for kind in ("weight", "bias")
    }


@pytest.mark.usefixtures("lean")
def test_weights_of_the_same_classes_are_taken_whole(configured, tmp_path):
    first = train(configured(max_steps=1), tmp_path / "first")
    network, transform = objective.new_network(configured(init=str(first.weights), feeding="checkpoint"))
    card = load_checkpoint(first.weights).card
    saved = load_checkpoint(first.weights).network.state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in network.state_dict().items())
    assert replace(transform, size=card.transform.size) == card.transform


@pytest.mark.usefixtures("lean")
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


# ---- Teachers, against what ONNX Runtime makes of the same pixels ---------------------------------------------


_TWO = ("plain", "mirrored")


def _pixels(photograph, side):
    with Image.open(photograph) as image:
        return torch.from_numpy(Transform(size=(side, side)).preprocess(image.convert("RGB")))[None]


@pytest.fixture(scope="module")
def pixels(photograph):
    """Of 160 pixels squared: the network takes any size, and a quarter of the pixels takes a quarter of the time."""
    return _pixels(photograph, 160)


@pytest.fixture(scope="module")
def packaged():
    """Gives the packaged model's map, 0 to 1, of pixels, by ONNX Runtime."""
    session = onnxruntime.InferenceSession(resolve("u2netp"), providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(None, {"input": pixels.numpy()})[0])


@pytest.fixture(scope="module")
def published(pixels, packaged):
    """The packaged model's map of the pixels, 0 to 255."""
    return 255 * packaged(pixels)


_open_once = cache(objective._load)


@pytest.fixture
def opened_once(monkeypatch):
    """Teachers do not change: each is opened once for all tests."""
    monkeypatch.setattr(objective, "_load", _open_once)


def _taught(pixels, *teachers):
    return Teachers(TrainConfig(teachers=teachers))(pixels)


@pytest.mark.usefixtures("opened_once")
def test_one_teacher_says_what_its_map_says(pixels, published):
    assert published.std() > 50
    assert (_taught(pixels, "u2netp") - published).abs().mean() < 0.25


@pytest.mark.usefixtures("opened_once")
def test_a_model_named_twice_is_averaged_with_its_mirror_image(pixels, published):
    twice, of_mirrored = (_taught(seen, "u2netp", "u2netp") for seen in (pixels, pixels.flip(3)))
    torch.testing.assert_close(of_mirrored.flip(3), twice, atol=0.05, rtol=0)
    assert (twice - published).abs().max() > 5  # which one look at it is not


@pytest.mark.usefixtures("opened_once")
@pytest.mark.parametrize("axis", [2, 3])
def test_looks_at_both_sides_make_a_map_that_turns_with_the_picture(pixels, published, axis):
    other = {2: "upside-down", 3: "mirrored"}[axis]
    config = TrainConfig(teachers=("u2netp", "u2netp"), looks=("plain", other))
    seen, turned = (Teachers(config)(x) for x in (pixels, pixels.flip(axis)))
    torch.testing.assert_close(turned.flip(axis), seen, atol=0.05, rtol=0)
    assert (seen - published).abs().max() > 5


@pytest.mark.usefixtures("opened_once")
@pytest.mark.parametrize(("look", "flipped"), [("smaller", []), ("smaller-mirrored", [3])])
def test_a_smaller_look_is_what_the_network_says_of_a_smaller_picture(photograph, packaged, look, flipped):
    pixels = _pixels(photograph, 320)
    small = torch.nn.functional.interpolate(pixels, (256, 256), mode="bilinear", antialias=True)
    published = packaged(small.flip(flipped)).flip(flipped)
    (seen,) = Teachers(TrainConfig(teachers=("u2netp",), looks=(look,)))(pixels) / 255
    assert seen.shape[1:] == (320, 320)
    reduced = torch.nn.functional.interpolate(seen[None], (256, 256), mode="bilinear", antialias=True)
    assert published.std() > 0.2
    assert (reduced - published).abs().mean() < 0.005


@pytest.mark.usefixtures("opened_once")
def test_teachers_take_looks_in_turn(pixels):
    once = Teachers(TrainConfig(teachers=("u2netp", "u2netp", "u2netp"), looks=("plain", "mirrored")))(pixels)
    plain, mirrored = (Teachers(TrainConfig(teachers=("u2netp",), looks=(look,)))(pixels) for look in _TWO)
    expected = 255 * torch.sigmoid((2 * torch.logit(plain / 255, 1e-6) + torch.logit(mirrored / 255, 1e-6)) / 3)
    torch.testing.assert_close(once, expected, atol=0.1, rtol=0)


def test_no_look_at_all_is_refused():
    with pytest.raises(ValueError, match="looks are one or more"):
        TrainConfig(looks=())


def test_without_masks_cuts_may_lie_anywhere():
    assert not TrainConfig().anywhere
    assert TrainConfig(teachers=("u2netp",)).anywhere


def test_teachers_are_refused_for_several_classes():
    with pytest.raises(ValueError, match="teachers are for two classes"):
        TrainConfig(teachers=("u2netp",), classes=("background", "red", "green"))


@pytest.mark.usefixtures("lean")
def test_a_teacher_with_classes_is_refused(configured, tmp_path):
    several = configured(classes=("background", "red", "green"), max_steps=1, on_bad="skip", validate_every=99)
    weights = str(train(several, tmp_path / "several").weights)
    with pytest.raises(InvalidModel, match="3 classes"):
        train(configured(teachers=(weights,)), tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/*"))


@pytest.mark.usefixtures("lean")
def test_a_student_learns_what_its_teacher_says_and_not_what_masks_say(configured, root, tmp_path):
    learning = {"lr": 0.03, "batch_size": 4, "max_steps": 30, "holdout": 0.0}
    teacher = train(configured(**learning), tmp_path / "teacher").weights
    for mask in (root / "masks").iterdir():
        Image.new("L", (40, 32), 255).save(mask)
    taught = train(configured(teachers=(str(teacher),), seed=1, **learning), tmp_path / "taught").weights
    alone = train(configured(seed=1, **learning), tmp_path / "alone").weights
    expected, said, learnt = (_map(weights, next((root / "images").iterdir())) for weights in (teacher, taught, alone))
    assert expected.std() > 0.1
    assert (learnt - expected).abs().mean() > 0.5
    assert (said - expected).abs().mean() < 0.1


@torch.no_grad()
def _map(weights, picture):
    checkpoint = load_checkpoint(weights)
    with Image.open(picture) as image:
        pixels = checkpoint.card.transform.preprocess(image.convert("RGB"))
    return checkpoint.network.eval().saliency(torch.from_numpy(pixels)[None])
