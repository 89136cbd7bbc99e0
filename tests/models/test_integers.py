import hashlib
import logging

import numpy as np
import pytest

from u2net.errors import InvalidModel
from u2net.models import integers
from u2net.models.card import Card
from u2net.models.onnx_file import OnnxFile
from u2net.models.onnx_sizes import check_sizes
from u2net.models.table import MODELS, Model
from u2net.models.zoo import find

WEIGHT = np.random.default_rng(0).normal(0, 3, (2, 4, 3, 3)).astype(np.float32)
SCALES = np.array([0.1, 0.2], np.float32)
VALUES = np.round(WEIGHT / SCALES[:, None, None, None]).astype(np.int8)
MADE = b"before" + VALUES.tobytes() + b"between" + VALUES[:1].tobytes() + b"after"
TINY = Model(Card("tiny"), "tiny.onnx", "https://example.invalid/tiny.onnx", "md5:")


@pytest.fixture
def source(monkeypatch, tmp_path):
    """A published file whose weights lie behind 7 bytes, and a recipe for it beside the packaged models."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(integers, "WEIGHTS", tmp_path)
    monkeypatch.setitem(MODELS, "tiny", TINY)
    path = tmp_path / "published.onnx"
    path.write_bytes(b"1234567" + WEIGHT.tobytes())
    write_recipe(tmp_path, MADE)
    return path


def write_recipe(folder, made):
    np.savez_compressed(
        folder / "tiny-int8.npz",
        skeleton=np.frombuffer(b"beforebetweenafter", np.uint8),
        places=np.array([6, 13]),
        sources=np.array([7, 7]),
        shapes=np.array([WEIGHT.shape, (1, *WEIGHT.shape[1:])]),
        scales=np.concatenate([SCALES, SCALES[:1]]),
        sha256=np.array(hashlib.sha256(made).hexdigest()),
    )


def test_a_recipe_makes_integers_of_the_published_file_once(monkeypatch, source, tmp_path):
    found = integers.find_integers(source, TINY)
    assert found == tmp_path / "cache" / "tiny-int8.onnx"
    assert found.read_bytes() == MADE
    monkeypatch.setattr(integers, "apply_recipe", None)
    assert integers.find_integers(source, TINY) == found


def test_what_was_damaged_is_made_again(source):
    found = integers.find_integers(source, TINY)
    found.write_bytes(MADE[::-1])
    assert integers.find_integers(source, TINY).read_bytes() == MADE


def test_what_the_recipe_was_not_tested_to_give_is_refused(source, tmp_path):
    write_recipe(tmp_path, b"something else")
    with pytest.raises(InvalidModel, match="not those that were tested"):
        integers.find_integers(source, TINY)
    assert not (tmp_path / "cache" / "tiny-int8.onnx").exists()


def test_without_a_folder_to_keep_them_there_are_none(monkeypatch, source, tmp_path, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "file" / "below"))
    assert integers.find_integers(source, TINY) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_without_a_recipe_they_lie_beside(tmp_path):
    path = tmp_path / "a.onnx"
    assert integers.find_integers(path, None) is None
    path.with_name("a-int8.onnx").touch()
    assert integers.find_integers(path, None) == path.with_name("a-int8.onnx")
    assert not integers.is_proven(path, MODELS["u2netp"])


def test_the_recipe_of_the_full_network_fits_its_file(monkeypatch, tmp_path):
    """Where this machine has the file."""
    path = find("u2net")
    if path is None:
        pytest.skip("this machine does not have the full network's file")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    made = integers.find_integers(path, MODELS["u2net"])
    file = OnnxFile.read(made)
    assert file.is_int8
    assert file.is_for_any_processor
    assert file.card().sha256 == MODELS["u2net"].card.sha256
    check_sizes(made, (320, 320))
