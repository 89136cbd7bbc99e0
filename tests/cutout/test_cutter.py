import io
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from needs import in_posix_words
from pictures import saved
from PIL import Image

from u2net import remove
from u2net.cutout import background
from u2net.cutout.config import CutoutConfig
from u2net.cutout.cutter import Cutter
from u2net.errors import UnknownModel
from u2net.images.tiff import to_tiff
from u2net.inference.session import Session
from u2net.models.card import Card
from u2net.models.transform import Transform

pytestmark = pytest.mark.usefixtures("opened_before")
EXACT = CutoutConfig(runtime="onnxruntime", precision="fp32", threads=1)
"""What makes maps those of the fixture `packaged`."""


@pytest.fixture(scope="module")
def cutter() -> Cutter:
    return Cutter(EXACT)


def _image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_path_and_its_bytes_become_what_remove_makes(cutter, photograph, packaged):
    expected = remove(photograph, session=packaged).tobytes()
    for source in (photograph, photograph.read_bytes()):
        cut = cutter(source)
        assert (cut.status, cut.reason) == ("done", "")
        assert _image(cut.content).tobytes() == expected
        assert cut.confidence == packaged.predict(photograph).confidence


def test_the_session_is_opened_once(cutter, photograph):
    session = cutter.open()
    cutter(photograph)
    assert cutter.open() is session


def test_after_the_last_picture_the_session_is_closed(photograph):
    cutter = Cutter(EXACT)
    session = cutter.open()
    assert cutter(photograph, is_last=True).status == "done"
    assert cutter.open() is not session


def test_a_pickled_cutter_makes_the_same(cutter, photograph):
    cutter.open()
    assert pickle.loads(pickle.dumps(cutter))(photograph) == cutter(photograph)


def test_16_bits_are_what_remove_makes_of_them(photograph, packaged):
    cut = Cutter(replace(EXACT, format="tiff", bit_depth=16))(photograph)
    assert cut.content == remove(photograph, session=packaged, bit_depth=16, force_return_bytes=True)


def test_16_bits_that_cannot_be_read_fail_alone(photograph, monkeypatch):
    cutter = Cutter(replace(EXACT, format="tiff", bit_depth=16))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    cut = cutter(to_tiff(np.zeros((4, 4, 4), dtype=np.uint16)))
    assert (cut.status, "pip install 'u2net[tiff]'" in cut.reason) == ("failed", True)
    assert cutter(photograph).status == "done"


def test_16_bits_in_a_format_that_has_8_are_refused_before_anything_is_done():
    with pytest.raises(ValueError, match="16"):
        CutoutConfig(bit_depth=16, format="png")


@in_posix_words
def test_what_cannot_be_cut_out_has_failed_in_one_line(cutter, tmp_path):
    for source, words in ((b"hello", "not a JPEG"), (tmp_path / "gone.png", "No such file"), (tmp_path, "directory")):
        cut = cutter(source)
        assert (cut.status, cut.content, cut.confidence) == ("failed", b"", None)
        assert words in cut.reason
        assert "\n" not in cut.reason


def test_a_model_that_cannot_be_opened_is_no_fault_of_the_picture(photograph, tmp_path):
    with pytest.raises(UnknownModel):
        Cutter(replace(EXACT, model=str(tmp_path / "none.onnx")))(photograph)


def test_a_mistake_in_the_program_is_not_taken_for_a_bad_picture(photograph, monkeypatch):
    monkeypatch.setitem(background.STYLES, "blur", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Cutter(replace(EXACT, background="blur"))(photograph)


@pytest.mark.parametrize(("confidence", "status"), [(0.09, "skipped"), (0.11, "done"), (0.3, "done")])
def test_a_picture_is_empty_below_a_confidence_of_a_tenth(confidence, status):
    odds = (np.log(confidence / (1 - confidence)) + 8.6) / 1.6  # the logistic fit, turned round
    level = np.float32(1 / (1 + np.exp(-odds)))
    empty = Cutter(replace(EXACT, on_empty="skip"))
    empty._session = Session(
        lambda batch: np.full((len(batch), 1, *batch.shape[2:]), level), Card("flat", Transform(size=(64, 64)))
    )
    cut = empty(saved(Image.new("RGB", (32, 24)), "PNG"))
    assert cut.confidence == pytest.approx(confidence, abs=1e-3)
    assert cut.status == status


@pytest.mark.parametrize(("wish", "status"), [("keep", "done"), ("skip", "skipped"), ("fail", "failed")])
def test_a_picture_of_nothing_is_what_was_asked(wish, status):
    wall = np.random.default_rng(0).integers(118, 138, (90, 120, 3), np.uint8)
    cut = Cutter(replace(EXACT, on_empty=wish))(saved(Image.fromarray(wall), "PNG"))
    assert cut.status == status
    assert cut.confidence < 0.1
    assert bool(cut.content) == (status == "done")


def _backgrounds(folder: Path) -> list[str]:
    Image.effect_mandelbrot((30, 20), (-2, -1, 1, 1), 50).convert("RGB").save(folder / "behind.png")
    return ["#090807", "black..white", "blur", str(folder / "behind.png")]


def test_backgrounds_reach_machines_that_lack_their_files(tmp_path, photograph):
    for behind in _backgrounds(tmp_path):
        cutter = Cutter(replace(EXACT, background=behind))
        there = pickle.dumps(cutter)
        (tmp_path / "behind.png").rename(tmp_path / "gone.png")
        assert pickle.loads(there)(photograph).content == cutter(photograph).content
        (tmp_path / "gone.png").rename(tmp_path / "behind.png")


def test_what_was_asked_tells_apart_whatever_makes_other_files(tmp_path):
    asked = [{}, {"decontaminate": True}, {"crop": True}, {"crop_margin": 0.1}, {"quality": "best"}, {"model": "u2net"}]
    asked += [{"format": "webp"}, *({"background": behind} for behind in _backgrounds(tmp_path))]
    told = [repr(CutoutConfig(**fields).asked()) for fields in asked]
    assert len(set(told)) == len(told)
    assert CutoutConfig(threads=1).asked() == CutoutConfig(threads=8).asked()


def test_another_picture_under_the_same_name_is_another_background(tmp_path):
    behind = tmp_path / "behind.png"
    told = []
    for color in ("red", "blue"):
        Image.new("RGB", (4, 4), color).save(behind)
        told.append(CutoutConfig(background=str(behind)).asked())
    assert told[0] != told[1]
