import io
import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
from pictures import saved
from PIL import Image

from u2net import remove
from u2net.cutout.compose import blur_backdrop, color_backdrop, gradient_backdrop, picture_backdrop
from u2net.cutout.cutter import CutoutConfig, Cutter
from u2net.cutout.finish import Crop, Finish
from u2net.cutout.outline import Matting, Outline
from u2net.errors import UnknownModel
from u2net.images.load import load_image
from u2net.images.tiff import to_tiff

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


@pytest.mark.parametrize(
    "asked",
    [
        {"format": "png"},
        {"format": "tiff", "finish": Finish(shadow=True)},
        {"format": "tiff", "finish": Finish(backdrop=blur_backdrop())},
        {"format": "tiff", "outline": Outline(matting=Matting())},
    ],
    ids=str,
)
def test_what_16_bits_do_not_bear_is_refused_before_anything_is_done(asked):
    with pytest.raises(ValueError, match="16"):
        CutoutConfig(bit_depth=16, **asked)


def test_what_cannot_be_cut_out_has_failed_in_one_line(cutter, tmp_path):
    for source, words in ((b"hello", "not a JPEG"), (tmp_path / "gone.png", "No such file"), (tmp_path, "directory")):
        cut = cutter(source)
        assert (cut.status, cut.content, cut.confidence) == ("failed", b"", None)
        assert words in cut.reason
        assert "\n" not in cut.reason


def test_a_model_that_cannot_be_opened_is_no_fault_of_the_picture(photograph, tmp_path):
    with pytest.raises(UnknownModel):
        Cutter(replace(EXACT, model=str(tmp_path / "none.onnx")))(photograph)


def test_a_mistake_in_the_program_is_not_taken_for_a_bad_picture(photograph):
    def broken(*_):
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        Cutter(replace(EXACT, finish=Finish(backdrop=broken)))(photograph)


@pytest.mark.parametrize(("wish", "status"), [("keep", "done"), ("skip", "skipped"), ("fail", "failed")])
def test_a_picture_of_nothing_is_what_was_asked(wish, status):
    wall = np.random.default_rng(0).integers(118, 138, (90, 120, 3), np.uint8)
    cut = Cutter(replace(EXACT, on_empty=wish))(saved(Image.fromarray(wall), "PNG"))
    assert cut.status == status
    assert cut.confidence < 0.1
    assert bool(cut.content) == (status == "done")


def _backdrops() -> list:
    behind = Image.effect_mandelbrot((30, 20), (-2, -1, 1, 1), 50).convert("RGB")
    return [
        color_backdrop((9, 8, 7, 255)),
        gradient_backdrop((0, 0, 0, 255), (255, 255, 255, 255)),
        blur_backdrop(),
        picture_backdrop(load_image(behind)),
    ]


@pytest.mark.parametrize("backdrop", _backdrops())
def test_backdrops_reach_other_processes(backdrop, cutter, photograph):
    config = replace(EXACT, finish=Finish(backdrop=backdrop))
    there = pickle.loads(pickle.dumps(config))
    assert there.asked() == config.asked()
    assert Cutter(there)(photograph).content == Cutter(config)(photograph).content


def test_what_was_asked_tells_apart_whatever_makes_other_files():
    behind = [Finish(backdrop=backdrop) for backdrop in _backdrops()]
    finishes = [Finish(), Finish(clean=True), Finish(crop=Crop()), Finish(crop=Crop(0.1)), *behind]
    configs = [CutoutConfig(finish=finish) for finish in finishes]
    configs += [CutoutConfig(outline=Outline("best")), CutoutConfig(model="u2net"), CutoutConfig(format="webp")]
    asked = [repr(config.asked()) for config in configs]
    assert len(set(asked)) == len(asked)
    assert CutoutConfig(threads=1).asked() == CutoutConfig(threads=8).asked()
