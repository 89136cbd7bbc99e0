import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
from networks import open_anywhere
from pictures import DISPLAY_P3, ROOT, read_image, rgb_profile, saved
from PIL import Image, ImageCms

from u2net import Session, Transform
from u2net.cutout.config import CutoutConfig
from u2net.errors import InvalidImage, InvalidModel, SessionClosed
from u2net.images.load import load_image
from u2net.inference.open import new_session
from u2net.inference.runtimes import RUNTIMES
from u2net.inference.session import _FLIPS, subject_confidence
from u2net.models.card import Card

WEIGHTS = ROOT / "src/u2net/models/weights/u2netp.onnx"


@pytest.fixture(scope="module", params=[*RUNTIMES, "torch"])
def any_small(request) -> Iterator[Session]:
    """The authors' model in each runtime at 64×64, where what it sees does not matter."""
    with open_anywhere(WEIGHTS, request.param, Transform(size=(64, 64))) as session:
        yield session


def _noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _mean_session(**transform) -> Session:
    """A session whose network answers with the mean of its three channels."""
    transform = Transform(mean=(0, 0, 0), std=(1, 1, 1), divisor="255", stretch=False, **transform)
    return Session(lambda batch: batch.mean(axis=1, keepdims=True), Card("mean", transform))


def test_our_file_gives_what_the_official_file_gives(data, u2netp, photograph):
    official = new_session(data / "weights/u2netp.onnx", runtime="onnxruntime")
    np.testing.assert_allclose(u2netp.saliency(photograph), official.saliency(photograph), atol=1e-4)


def test_the_mask_follows_the_saliency(u2netp, photograph):
    difference = u2netp.saliency(photograph) * 255 - u2netp.mask(photograph)
    assert difference.min() > -1  # Pillow rounds 8-bit maps once per axis
    assert difference.max() < 2  # and whole levels were cut before that


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (31, 33), (319, 321), (320, 320)])
def test_maps_have_the_pictures_size_and_are_finite(packaged, size):
    saliency = packaged.saliency(_noise(*size))
    assert saliency.shape == (size[1], size[0])
    assert saliency.dtype == np.float32
    assert np.isfinite(saliency).all()
    assert (saliency.min() >= 0) & (saliency.max() <= 1)


@pytest.mark.parametrize("level", [0, 127, 255])
def test_a_flat_picture_gives_a_finite_map(packaged, level):
    assert np.isfinite(packaged.saliency(np.full((50, 60, 3), level, np.uint8))).all()


def test_every_kind_of_input_gives_the_same_map(packaged, photograph):
    image = read_image(photograph)
    expected = packaged.mask(photograph)
    for same in (str(photograph), photograph.read_bytes(), image, np.asarray(image), load_image(photograph)):
        np.testing.assert_array_equal(packaged.mask(same), expected)


def test_a_batch_gives_each_picture_its_own_map_in_order(any_small):
    batch = np.stack([any_small._see(load_image(_noise(40 + i, 30, seed=i))) for i in range(5)])
    alone = np.concatenate([any_small.backend(picture[None]) for picture in batch])
    assert np.abs(alone[:-1] - alone[1:]).max(axis=(1, 2, 3)).min() > 0.01
    # Processors may take other kernels for several pictures, and differ by 5e-5.
    np.testing.assert_allclose(any_small.backend(batch), alone, atol=1e-3)


def test_threads_share_a_session(any_small):
    pictures = [_noise(33, 44, seed=i) for i in range(8)]
    expected = [any_small.mask(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        for mask, alone in zip(pool.map(any_small.mask, pictures), expected, strict=True):
            assert np.abs(mask.astype(int) - alone).max() <= 1


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_for_many_at_a_time_gives_the_same_maps(runtime, photograph):
    pytest.importorskip(runtime)
    with new_session(WEIGHTS, runtime=runtime, precision="fp32") as one:
        expected = one.mask(photograph)
    with (
        new_session(WEIGHTS, runtime=runtime, precision="fp32", throughput=True) as many,
        ThreadPoolExecutor(4) as pool,
    ):
        for mask in pool.map(many.mask, [photograph] * 6):
            assert np.abs(mask.astype(int) - expected).max() <= 1


def test_a_closed_session_takes_no_more_pictures(any_small):
    with Session(any_small.backend, any_small.card) as session:
        assert session.mask(_noise(8, 9)).shape == (9, 8)
    session.close()
    with pytest.raises(SessionClosed, match="closed"):
        session.mask(_noise(8, 9))


def test_a_session_that_is_closed_lets_go_of_the_runtime():
    def backend(batch):
        return batch[:, :1]

    kept = weakref.ref(backend)
    session = Session(backend, Card("first channel"))
    del backend
    session.close()
    assert kept() is None


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (320, 320), (321, 999), (41, 3000)])
def test_a_session_sees_the_samples_of_a_picture_as_its_transform_does_the_whole(size):
    seen = []

    def backend(batch):
        seen.append(batch)
        return batch[:, :1]

    picture = load_image(_noise(*size))
    Session(backend, Card("watching")).mask(picture)
    np.testing.assert_array_equal(seen[0][0], Transform().preprocess(picture.view()))


def test_samples_of_a_picture_with_profile_and_transparency_are_those_of_its_view():
    pixels = np.dstack([_noise(90, 2000), _noise(90, 2000, seed=1)[..., 0]])
    content = saved(Image.fromarray(pixels), "PNG", icc_profile=rgb_profile(DISPLAY_P3))
    picture = load_image(content)
    columns, rows = Transform().samples(picture.size)
    np.testing.assert_array_equal(
        np.asarray(picture.at(columns, rows).view()), np.asarray(picture.view())[np.ix_(rows, columns)]
    )


def test_colours_are_converted_after_an_opaque_picture_was_made_small(photograph, monkeypatch):
    """All of a large photograph would take a third of the time. Only colours that sRGB lacks differ by much."""
    with Image.open(photograph) as file:
        picture = load_image(saved(file.convert("RGB"), "PNG", icc_profile=rgb_profile(DISPLAY_P3)))
    transform = Transform(size=(64, 48), antialias=True, mean=(0, 0, 0), std=(1, 1, 1), divisor="255")
    expected = transform.preprocess(picture.view())
    seen, converted = [], []

    def backend(batch):
        seen.append(batch)
        return batch[:, :1]

    apply = ImageCms.ImageCmsTransform.apply
    monkeypatch.setattr(
        ImageCms.ImageCmsTransform, "apply", lambda self, image: converted.append(image.size) or apply(self, image)
    )
    Session(backend, Card("watching", transform)).mask(picture)
    assert picture.size not in converted
    assert transform.size in converted
    assert np.abs(seen[0][0] - expected).max() < 20 / 255
    assert np.abs(seen[0][0] - expected).mean() < 1 / 255


def test_the_same_picture_gives_the_same_bytes(photograph):
    session = new_session(WEIGHTS, runtime="onnxruntime", threads=2, transform=Transform(size=(96, 96)))
    first = session.mask(photograph).tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert {mask.tobytes() for mask in pool.map(session.mask, [photograph] * 8)} == {first}


def test_the_network_sees_what_the_transform_says():
    np.testing.assert_allclose(
        _mean_session(size=(4, 4)).saliency(np.full((9, 5, 3), (30, 60, 90), np.uint8)), 60 / 255, atol=1e-6
    )


def test_labels_of_several_classes_are_indices_at_the_pictures_size():
    classes = ("background", "left", "right")

    def backend(batch):
        scores = np.zeros((len(batch), 3, 2, 2), np.float32)
        scores[:, 1, :, 0] = scores[:, 2, :, 1] = 9
        return scores

    session = Session(backend, Card("halves", Transform(output="logits", stretch=False), classes))
    labels = session.labels(_noise(20, 10))
    assert labels.shape == (10, 20)
    assert (labels[:, 0] == 1).all()
    assert (labels[:, -1] == 2).all()


def test_as_many_maps_as_classes_or_one_else_the_model_is_refused():
    session = Session(lambda batch: np.zeros((len(batch), 5, 4, 4), np.float32), Card("five"))
    with pytest.raises(InvalidModel, match="5 maps"):
        session.mask(_noise(4, 4))


def test_what_is_no_picture_is_refused(packaged):
    with pytest.raises(InvalidImage):
        packaged.mask(b"not a picture")


def test_a_transform_given_replaces_the_files_own():
    smaller = Transform(size=(160, 160))
    assert new_session(WEIGHTS, transform=smaller).card.transform == smaller


def test_a_model_runs_at_another_size(photograph):
    mask = new_session(WEIGHTS, runtime="onnxruntime", transform=Transform(size=(256, 192))).mask(photograph)
    assert mask[200, 300] > 200  # the cup
    assert mask[5, 5] < 50


def test_a_file_without_a_card_is_fed_as_the_authors_do(data):
    assert new_session(data / "weights/u2netp.onnx").card == Card("u2netp")


def test_a_file_of_another_size_than_its_transform_is_refused(data):
    with pytest.raises(InvalidModel, match="320"):
        new_session(data / "weights/u2netp.onnx", transform=Transform(size=(64, 64)))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("not a model")
    with pytest.raises(InvalidModel, match=r"model\.onnx"):
        new_session(path)


def test_a_card_that_is_not_one_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(WEIGHTS)
    onnx.helper.set_model_props(model, {"u2net.card": json.dumps({"name": "x", "transform": {"size": "big"}})})
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(InvalidModel, match=r"bad\.onnx"):
        new_session(tmp_path / "bad.onnx")


def test_models_open_from_a_name_with_spaces_and_accents(tmp_path, photograph):
    path = tmp_path / "mödel of mine.onnx"
    shutil.copy(WEIGHTS, path)
    assert new_session(path).card.name == "u2netp"


def test_importing_the_package_loads_neither_numpy_nor_a_runtime_nor_torch():
    heavy = {"numpy", "onnxruntime", "openvino", "PIL", "torch", "tqdm", "pooch"}
    code = f"import sys, u2net, u2net.cli; print(*({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_opening_a_session_does_not_load_torch():
    code = "import sys, u2net; u2net.new_session(); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(
    "outputs",
    [np.float32(0), np.zeros((1, 4, 4)), np.zeros((2, 1, 4, 4)), np.zeros((1, 1, 0, 4)), np.full((1, 1, 4, 4), np.nan)],
)
def test_a_model_that_answers_with_nonsense_is_refused(outputs):
    session = Session(lambda batch: np.asarray(outputs, np.float32), Card("odd"))
    with pytest.raises(InvalidModel, match="odd puts out"):
        session.mask(_noise(4, 4))


@pytest.mark.parametrize(
    "options", [{"runtime": "tensorrt"}, {"threads": 0}, {"providers": []}, {"runtime": "openvino", "providers": ["x"]}]
)
def test_options_that_make_no_sense_are_refused_rather_than_ignored(options):
    with pytest.raises(ValueError, match=r"runtime|threads|providers"):
        new_session(WEIGHTS, **options)


def test_the_callers_options_are_left_as_they_are():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    for size in ((64, 64), (96, 32)):
        session = new_session(WEIGHTS, sess_opts=options, transform=Transform(size=size))
        assert session.mask(_noise(8, 9)).shape == (9, 8)
    assert options.intra_op_num_threads == 0


def test_a_live_network_keeps_its_modes_and_statistics():
    torch = pytest.importorskip("torch")
    from u2net.net import U2NETP, U2Net
    from u2net.net.backend import torch_backend

    network = U2Net(U2NETP).train()
    network.encoder[0].eval()  # a part that its owner has frozen
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    session = Session(torch_backend(network), Card("live", Transform(size=(32, 32))))
    with ThreadPoolExecutor(4) as pool:
        masks = {mask.tobytes() for mask in pool.map(session.mask, [_noise(9, 9)] * 8)}
    assert len(masks) == 1
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_a_prediction_is_the_mask_and_its_confidence(photograph, packaged):
    prediction = packaged.predict(photograph)
    np.testing.assert_array_equal(prediction.mask, packaged.mask(photograph))
    assert 0.85 < prediction.confidence < 0.93


def test_confidence_is_of_the_map_before_it_is_stretched():
    """Stretched, noise fills 0 to 1 as well as any subject."""
    faint = np.linspace(0, 0.05, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    prediction = Session(lambda batch: faint, Card("faint", Transform(size=(8, 8)))).predict(_noise(8, 8))
    assert prediction.mask.max() == 255
    assert prediction.confidence < 0.001


def test_confidence_of_several_classes_is_of_any_but_the_background():
    logits = np.zeros((1, 3, 8, 8), dtype=np.float32)
    logits[:, 2] = 20
    card = Card("classes", Transform(size=(8, 8), output="logits"), classes=("background", "upper", "lower"))
    assert Session(lambda batch: logits, card).predict(_noise(8, 8)).confidence > 0.9


# ---- Confidence -----------------------------------------------------------------------------------------------


def _map(level, share=0.2, size=320):
    saliency = np.zeros((size, size), dtype=np.float32)
    saliency[: round(size * share)] = level
    return saliency


def test_a_map_of_nothing_has_no_subject():
    assert subject_confidence(_map(0.0)) < 0.001


def test_a_crisp_map_has_a_subject():
    assert subject_confidence(_map(1.0)) > 0.9


def test_even_odds_are_where_the_logistic_function_has_them():
    """logit p = 8.6 / 1.6"""
    assert subject_confidence(_map(1 / (1 + np.exp(-8.6 / 1.6)))) == pytest.approx(0.5, abs=1e-3)


def test_a_fainter_map_is_less_sure():
    scores = [subject_confidence(_map(level)) for level in (0.5, 0.9, 0.99, 0.999)]
    assert scores == sorted(set(scores))


def test_the_surest_hundredth_counts():
    saliency = _map(0.0)
    saliency[:32, :32] = 1  # 1,024 pixels are one in a hundred
    assert subject_confidence(saliency) > 0.9
    saliency[:16] = 0
    assert subject_confidence(saliency) < 0.01


def test_one_pixel_is_enough_to_judge():
    assert subject_confidence(np.ones((1, 1), dtype=np.float32)) > 0.9


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9, 0.999])
def test_a_map_that_was_sharpened_is_as_sure_as_before(level):
    sharpened = 1 / (1 + np.exp(-1.8 * np.log(level / (1 - level))))
    assert subject_confidence(_map(sharpened), 1.8) == pytest.approx(subject_confidence(_map(level)), rel=1e-3)
    for extreme in (0.0, 1.0):
        assert subject_confidence(_map(extreme), 1.8) == subject_confidence(_map(extreme))


# ---- Several looks --------------------------------------------------------------------------------------------


def _noise_session(shown: list) -> Session:
    """A session whose network answers with the red channel of what it is shown, and keeps that."""

    def backend(batch):
        shown.append(batch)
        return batch[:, :1]

    transform = Transform((8, 6), mean=(0, 0, 0), std=(1, 1, 1), divisor="255", stretch=False)
    return Session(backend, Card("red", transform))


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_each_look_is_turned_back(looks):
    shown = []
    prediction = _noise_session(shown).predict(_noise(8, 6), looks)
    (batch,) = shown
    assert len(batch) == looks
    np.testing.assert_allclose(prediction.output, batch[0][:1], atol=1e-6)


def test_the_mirror_image_and_the_picture_upside_down_are_shown():
    shown = []
    _noise_session(shown).predict(_noise(8, 6), looks=3)
    plain, mirrored, upside_down = shown[0]
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])
    np.testing.assert_array_equal(upside_down, plain[:, ::-1])


def test_all_looks_count_alike():
    levels = np.array([0.2, 0.4, 0.9], np.float32)
    transform = Transform((4, 4), stretch=False)
    session = Session(lambda batch: np.tile(levels[: len(batch), None, None, None], (1, 1, 4, 4)), Card("a", transform))
    assert session.predict(_noise(5, 5), 2).output == pytest.approx(0.3)
    assert session.predict(_noise(5, 5), 3).output == pytest.approx(0.5)


@pytest.mark.parametrize("looks", [0, 4])
def test_other_numbers_of_looks_are_refused(looks):
    with pytest.raises(ValueError, match="looks is 1 to 3"):
        _noise_session([]).predict(_noise(8, 6), looks)


def test_the_configuration_offers_the_looks_that_there_are():
    looks = next(field for field in fields(CutoutConfig) if field.name == "looks")
    assert range(looks.metadata["low"], looks.metadata["high"] + 1) == range(1, len(_FLIPS) + 1)


def test_transparency_is_cropped_with_the_colours():
    image = Image.fromarray(_noise(80, 60))
    alpha = Image.fromarray(_noise(80, 60, 1)[:, :, 1])
    image.putalpha(alpha)
    assert load_image(image).crop((3, 4, 30, 50)).alpha == alpha.crop((3, 4, 30, 50))
