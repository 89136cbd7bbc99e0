import numpy as np
import pytest

from cli.command import u2net
from u2net import new_session
from u2net.models.zoo import find

torch = pytest.importorskip("torch")


def test_the_authors_weights_become_a_file_that_cuts_out(tmp_path, photograph, u2netp):
    from u2net.net.checkpoint import to_authors_key
    from u2net.net.weight_files import load_checkpoint

    state = load_checkpoint(find("u2netp")).network.state_dict()
    torch.save({to_authors_key(key): value for key, value in state.items()}, tmp_path / "u2netp.pth")
    result = u2net("export", tmp_path / "u2netp.pth", tmp_path / "mine.onnx", "--licence", "MIT", "--name", "mine")
    assert result.returncode == 0, result.stderr
    session = new_session(tmp_path / "mine.onnx")
    assert (session.card.name, session.card.licence) == ("mine", "MIT")
    assert np.abs(session.mask(photograph).astype(int) - u2netp.mask(photograph)).max() <= 1


def test_an_onnx_file_becomes_safetensors(tmp_path):
    from u2net.net import load_checkpoint

    assert u2net("export", find("u2netp"), tmp_path / "mine.safetensors").returncode == 0
    assert load_checkpoint(tmp_path / "mine.safetensors").card.licence == "Apache-2.0"


@pytest.mark.parametrize(("name", "code"), [("mine.pth", 2), ("mine", 2), ("nowhere/mine.safetensors", 1)])
def test_what_cannot_be_written_is_one_line(tmp_path, name, code):
    result = u2net("export", find("u2netp"), tmp_path / name)
    assert (result.returncode, result.stderr.count(b"\n")) == (code, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_checkpoint_is_one_line(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"nonsense")
    result = u2net("export", tmp_path / "bad.pth", tmp_path / "mine.onnx")
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


def test_integers_are_written_beside_the_file_and_found_there(tmp_path, photograph):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.jpg").write_bytes(photograph.read_bytes())
    result = u2net("export", find("u2netp"), tmp_path / "mine.onnx", "--int8", "--calibration", pictures)
    assert result.returncode == 0, result.stderr
    assert b"on 1 pictures its maps differ from" in result.stdout
    exact = new_session(tmp_path / "mine.onnx", runtime="onnxruntime")
    integers = new_session(tmp_path / "mine.onnx", runtime="onnxruntime", precision="int8")
    assert np.abs(exact.saliency(photograph) - integers.saliency(photograph)).mean() < 0.02


@pytest.mark.parametrize(
    "arguments", [["mine.onnx", "--int8"], ["mine.onnx", "--calibration", "."], ["mine.safetensors", "--int8"]]
)
def test_integers_need_pictures_and_an_onnx_file(tmp_path, arguments):
    name, *options = arguments
    result = u2net("export", find("u2netp"), tmp_path / name, *options)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_half_makes_a_file_of_half_the_length(tmp_path):
    result = u2net("export", find("u2netp"), tmp_path / "mine.onnx", "--half")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "mine.onnx").stat().st_size < 0.51 * find("u2netp").stat().st_size


def test_half_is_for_onnx(tmp_path):
    result = u2net("export", find("u2netp"), tmp_path / "mine.safetensors", "--half")
    assert (result.returncode, result.stderr) == (2, b"u2net: --all-outputs, --half and --int8 are for .onnx\n")
