import io
import tarfile
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import PIL
import pytest
from networks import open_anywhere
from PIL import Image

import u2net.net.feeding
from u2net import Session
from u2net.errors import InvalidModel
from u2net.inference.open import new_session
from u2net.inference.runtimes import openvino_core
from u2net.models.card import Card
from u2net.models.transform import AUTHORS, REMBG, Transform
from u2net.models.zoo import find
from u2net.net import export_onnx, load_checkpoint
from u2net.net.backend import torch_backend
from u2net.net.export import to_onnx
from u2net.net.feeding import with_preprocessing

BY_SAMPLES = replace(AUTHORS, size=(64, 48))
PACKAGED = Transform((64, 48), antialias=True, divisor="255", stretch=False, upsample="bicubic")
TRANSFORMS = {
    "four taps": BY_SAMPLES,
    "bilinear and bicubic": PACKAGED,
    "bicubic": replace(PACKAGED, resample="bicubic", upsample="bilinear", mean=(0.5,) * 3, std=(0.5, 0.4, 0.3)),
    "Lanczos": replace(REMBG, size=(64, 48)),
}
# (width, height): larger, smaller, the same, one side each, a scale with many ties, a pixel.
SIZES = [(161, 120), (50, 31), (64, 48), (90, 31), (80, 60), (1, 1), (3, 200)]
is_old = int(PIL.__version__.partition(".")[0]) < 13


def picture(size: tuple[int, int]) -> Image.Image:
    few = np.random.default_rng(size[0]).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(few).resize(size, Image.Resampling.BICUBIC)


def difference(ours: np.ndarray, theirs: np.ndarray) -> int:
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    return int(np.abs(ours.astype(int) - theirs).max())


def run(session: onnxruntime.InferenceSession, image: Image.Image) -> np.ndarray:
    (mask,) = session.run(None, {"image": np.asarray(image)[None]})
    return mask[0]


def opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_masks_are_those_of_a_session_at_any_size(tiny, transform):
    card = Card("a", transform)
    whole = opened(with_preprocessing(to_onnx(tiny, card, static=True), transform))
    session = Session(torch_backend(tiny), card)
    for size in SIZES[: len(SIZES) - is_old]:  # Pillow 12 resizes tall pictures in another order
        expected = session.mask(picture(size))
        assert difference(run(whole, picture(size)), expected) <= 1, size
        assert expected.std() > 1 or size == (1, 1)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_what_the_network_sees_is_the_same_to_rounding(tiny, transform):
    model = with_preprocessing(to_onnx(tiny, Card("a", transform), static=True), transform)
    model.graph.output.append(onnx.ValueInfoProto(name="input"))
    whole = opened(model)
    for size in SIZES[: len(SIZES) - is_old]:
        (seen,) = whole.run(["input"], {"image": np.asarray(picture(size))[None]})
        np.testing.assert_allclose(seen[0], transform.preprocess(picture(size)), atol=1e-5)


def test_a_black_picture_stays_black(tiny):
    whole = opened(with_preprocessing(to_onnx(tiny, Card("a", BY_SAMPLES), static=True), BY_SAMPLES))
    image = Image.new("RGB", (70, 50))
    expected = Session(torch_backend(tiny), Card("a", BY_SAMPLES)).mask(image)
    assert difference(run(whole, image), expected) <= 1


def test_of_several_classes_the_mask_is_what_is_not_background(new_network, tiny_table):
    network = new_network(tiny_table, num_classes=3)
    card = Card("a", PACKAGED, classes=("background", "one", "two"))
    whole = opened(with_preprocessing(to_onnx(network, card, static=True), PACKAGED))
    expected = Session(torch_backend(network), replace(card, transform=replace(PACKAGED, output="probabilities")))
    assert difference(run(whole, picture((161, 120))), expected.mask(picture((161, 120)))) <= 1


def test_openvino_runs_it_within_two_grey_levels(tiny):
    pytest.importorskip("openvino")
    model = with_preprocessing(to_onnx(tiny, Card("a", PACKAGED), static=True), PACKAGED)
    core = openvino_core()
    whole = core.compile_model(core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = Session(torch_backend(tiny), Card("a", PACKAGED))
    for size in SIZES[:5]:
        found = whole(np.asarray(picture(size))[None])[0][0]
        assert difference(found, session.mask(picture(size))) <= 2, size


@pytest.mark.parametrize("opset", [None, 21])
def test_the_file_takes_and_gives_bytes_and_is_of_the_opset_that_was_asked_for(tmp_path, least, opset):
    export_onnx(least, tmp_path / "a.onnx", Card("a", PACKAGED), preprocessing=True, opset=opset)
    model = onnx.load(tmp_path / "a.onnx")
    assert model.opset_import[0].version == (opset or 13)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("image", "tensor(uint8)", [1, "height", "width", 3])
    assert (given.name, given.type, given.shape) == ("mask", "tensor(uint8)", [1, "height", "width"])


def test_weights_may_be_kept_in_16_bits(tmp_path, least):
    export_onnx(least, tmp_path / "a.onnx", Card("a", PACKAGED), preprocessing=True, half=True)
    names = {tensor.name for tensor in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert "fuse.weight.half" in names


def test_a_graph_that_makes_other_masks_is_refused_and_leaves_the_old_file(tmp_path, tiny, monkeypatch):
    (tmp_path / "a.onnx").write_bytes(b"old")
    monkeypatch.setitem(u2net.net.feeding._KERNELS, "bicubic", u2net.net.feeding._bilinear)
    with pytest.raises(InvalidModel, match=r"mask differs from torch's by \d+ grey levels"):
        export_onnx(tiny, tmp_path / "a.onnx", Card("a", PACKAGED), preprocessing=True)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_side_maps_and_other_channels_are_refused(tmp_path, least, new_network, least_table):
    with pytest.raises(ValueError, match="without all_outputs"):
        export_onnx(least, tmp_path / "a.onnx", Card("a", PACKAGED), preprocessing=True, all_outputs=True)
    grey = new_network((least_table[0]._replace(c_in=1), *least_table[1:]))
    with pytest.raises(ValueError, match="see RGB"):
        export_onnx(grey, tmp_path / "a.onnx", Card("a", PACKAGED), preprocessing=True)
    assert list(tmp_path.iterdir()) == []


def test_we_say_that_such_a_file_is_for_other_programs(tmp_path, least):
    export_onnx(least, tmp_path / "a.onnx", Card("a", PACKAGED), preprocessing=True)
    for opener in (new_session, load_checkpoint):
        with pytest.raises(InvalidModel, match=r"a\.onnx.* was exported with its preprocessing, for other programs"):
            opener(tmp_path / "a.onnx")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["u2netp", "u2netp_distilled"])
def test_twenty_photographs_have_the_masks_of_a_session(tmp_path, data, name):
    network, card = load_checkpoint(find(name))
    export_onnx(network, tmp_path / "a.onnx", card, preprocessing=True)
    whole = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    with open_anywhere(find(name), "onnxruntime") as session, tarfile.open(data / "ecssd.tar") as archive:
        names = sorted(name for name in archive.getnames() if name.startswith("images/") and name.endswith(".webp"))
        for member in names[::50]:
            image = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
            assert difference(run(whole, image), session.mask(image)) <= 1, member
