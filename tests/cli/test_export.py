import numpy as np
import pytest
from pictures import read_image

from cli.command import u2net
from u2net import Session, Transform, new_session
from u2net.models.card import Card
from u2net.models.zoo import find

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def narrow():
    """The authors' table, a few channels wide, with weights by chance."""
    from u2net.net import U2NETP, U2Net

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return U2Net([row._replace(c_in=max(3, row.c_in // 16), c_mid=2, c_out=4) for row in U2NETP]).eval()


def test_weights_under_the_authors_names_become_a_file_that_cuts_out(here, tmp_path, narrow, photograph):
    from u2net.net.backend import torch_backend
    from u2net.net.checkpoint import to_authors_key

    torch.save({to_authors_key(key): value for key, value in narrow.state_dict().items()}, tmp_path / "theirs.pth")
    result = here("export", tmp_path / "theirs.pth", tmp_path / "mine.onnx", "--licence", "MIT", "--name", "mine")
    assert result.returncode == 0, result.stderr
    session = new_session(tmp_path / "mine.onnx", precision="fp32")
    assert (session.card.name, session.card.licence) == ("mine", "MIT")
    expected = Session(torch_backend(narrow), session.card).mask(photograph)
    assert expected.std() > 10
    assert np.abs(session.mask(photograph).astype(int) - expected).max() <= 1


def test_an_onnx_file_becomes_safetensors(here, tmp_path):
    from u2net.net import load_checkpoint

    assert here("export", find("u2netp"), tmp_path / "mine.safetensors").returncode == 0
    assert load_checkpoint(tmp_path / "mine.safetensors").card.licence == "Apache-2.0"


@pytest.mark.parametrize(("name", "code"), [("mine.pth", 2), ("mine", 2), ("nowhere/mine.safetensors", 1)])
def test_what_cannot_be_written_is_one_line(here, tmp_path, name, code):
    result = here("export", find("u2netp"), tmp_path / name)
    assert (result.returncode, result.stderr.count(b"\n")) == (code, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_checkpoint_is_one_line(tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"nonsense")
    result = u2net("export", tmp_path / "bad.pth", tmp_path / "mine.onnx")
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)


def test_integers_are_written_beside_the_file_and_found_there(here, tmp_path, photograph):
    from u2net.net import Stage, U2Net, save_checkpoint

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.jpg").write_bytes(photograph.read_bytes())
    with torch.random.fork_rng():
        torch.manual_seed(4)  # one that integers hardly harm
        network = U2Net((Stage(3, False, 3, 4, 8), Stage(3, True, 8, 4, 8), Stage(3, False, 16, 4, 8)))
    save_checkpoint(network, tmp_path / "mine.safetensors", Card("mine", Transform(size=(96, 96), stretch=False)))
    result = here("export", tmp_path / "mine.safetensors", tmp_path / "mine.onnx", "--int8", "--calibration", pictures)
    assert result.returncode == 0, result.stderr
    assert b"on 1 pictures its maps differ from" in result.stdout
    exact, integers = (
        new_session(tmp_path / "mine.onnx", runtime="onnxruntime", precision=precision).saliency(photograph)
        for precision in ("fp32", "int8")
    )
    assert 0 < np.abs(exact - integers).mean() < 0.02


@pytest.mark.parametrize(
    "arguments", [["mine.onnx", "--int8"], ["mine.onnx", "--calibration", "."], ["mine.safetensors", "--int8"]]
)
def test_integers_need_pictures_and_an_onnx_file(here, tmp_path, arguments):
    name, *options = arguments
    result = here("export", find("u2netp"), tmp_path / name, *options)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_half_makes_a_file_of_half_the_length(here, tmp_path):
    from u2net.net import Stage, U2Net, save_checkpoint

    down, up = [Stage(2, False, c_in, 2, 4) for c_in in (3, 4, 4)], [Stage(2, False, c_in, 2, 4) for c_in in (68, 8, 8)]
    network = U2Net([*down, Stage(2, True, 4, 256, 64), *up])  # a million weights, where maps are small
    save_checkpoint(network, tmp_path / "mine.safetensors", Card("mine"))
    for name, flags in (("whole", []), ("half", ["--half"])):
        result = here("export", tmp_path / "mine.safetensors", tmp_path / f"{name}.onnx", *flags)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "half.onnx").stat().st_size < 0.51 * (tmp_path / "whole.onnx").stat().st_size


def test_half_is_for_onnx(here, tmp_path):
    result = here("export", find("u2netp"), tmp_path / "mine.safetensors", "--half")
    assert (result.returncode, result.stderr) == (
        2,
        b"u2net: --with-preprocessing, --all-outputs, --half and --int8 are for .onnx\n",
    )


def test_a_size_makes_a_graph_that_opencv_opens_and_computes_alike(here, tmp_path, photograph):
    cv2 = pytest.importorskip("cv2")
    result = here("export", find("u2netp"), tmp_path / "mine.onnx", "--size", 320, 256, "--opset", 15)
    assert result.returncode == 0, result.stderr
    session = new_session(tmp_path / "mine.onnx", runtime="onnxruntime")
    assert session.card.transform.size == (320, 256)
    picture = cv2.cvtColor(cv2.resize(cv2.imread(str(photograph)), (320, 256)), cv2.COLOR_BGR2RGB).astype(np.float32)
    batch = cv2.dnn.blobFromImage((picture / picture.max() - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225))
    engine = cv2.dnn.readNetFromONNX(str(tmp_path / "mine.onnx"))
    engine.setInput(batch)
    np.testing.assert_allclose(engine.forward(), session.backend(batch), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.safetensors", ["--size", 64, 64]), ("a.onnx", ["--opset", 13]), ("a.onnx", ["--size", 0, 64])],
)
def test_a_size_that_makes_no_sense_is_refused(here, tmp_path, name, options):
    assert here("export", find("u2netp"), tmp_path / name, *options).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_preprocessing_makes_a_picture_into_its_mask(here, tmp_path, narrow, photograph):
    import onnxruntime

    from u2net.net import save_checkpoint
    from u2net.net.backend import torch_backend

    card = save_checkpoint(narrow, tmp_path / "mine.safetensors", Card("mine", Transform(size=(96, 64))))
    result = here("export", tmp_path / "mine.safetensors", tmp_path / "whole.onnx", "--with-preprocessing")
    assert result.returncode == 0, result.stderr
    session = onnxruntime.InferenceSession(tmp_path / "whole.onnx", providers=["CPUExecutionProvider"])
    image = read_image(photograph)
    (mask,) = session.run(None, {"image": np.asarray(image)[None]})
    expected = Session(torch_backend(narrow), card).mask(image)
    assert np.abs(mask[0].astype(int) - expected).max() <= 1
    result = here("remove", "-m", tmp_path / "whole.onnx", photograph, "-o", tmp_path / "out.png")
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1
    assert b"for other programs" in result.stderr


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.safetensors", ["--with-preprocessing"]),
        ("a.onnx", ["--with-preprocessing", "--all-outputs"]),
        ("a.onnx", ["--with-preprocessing", "--int8", "--calibration", "."]),
        ("a.xml", ["--with-preprocessing"]),
        ("a.param", ["--opset", 13]),
        ("a.tflite", ["--half"]),
    ],
)
def test_options_that_make_no_sense_together_are_refused(here, tmp_path, name, options):
    result = here("export", find("u2netp"), tmp_path / name, *options)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_of_another_engine_names_its_form_and_existing_files_stay(here, tmp_path, narrow):
    pytest.importorskip("ncnn")
    from u2net.net import save_checkpoint

    save_checkpoint(narrow, tmp_path / "mine.safetensors", Card("mine"))
    asked = ["export", tmp_path / "mine.safetensors", tmp_path / "mine.param", "--size", 64, 48]
    result = here(*asked)
    assert result.returncode == 0, result.stderr
    assert b"ncnn's maps of noise differ from torch's by 0.0" in result.stdout
    assert Card.from_json((tmp_path / "mine.param.json").read_text()).transform.size == (64, 48)
    (tmp_path / "mine.param").unlink()
    result = here(*asked)
    assert (result.returncode, result.stderr) == (
        2,
        f"u2net: {tmp_path / 'mine.bin'} exists already: ".encode() + b"--overwrite replaces it\n",
    )
    assert here(*asked, "--overwrite").returncode == 0


def test_a_folder_is_no_file_to_write(here, tmp_path):
    (tmp_path / "a.mlpackage").mkdir()
    for options in ([], ["--overwrite"]):
        result = here("export", find("u2netp"), tmp_path / "a.mlpackage", *options)
        assert (result.returncode, result.stderr) == (2, f"u2net: {tmp_path / 'a.mlpackage'} is a folder\n".encode())
