import numpy as np
import pytest
from PIL import Image

from u2net.images.load import load_image
from u2net.inference.looks import with_closer, with_mirrored
from u2net.inference.session import Prediction


def _brightness(picture):
    """A stand-in for a network: the mask is the red channel."""
    return Prediction(np.asarray(picture.rgb)[:, :, 0], 0.5)


class _Recorder:
    """Predicts one mask after the other, with less and less confidence, and keeps what it was shown."""

    def __init__(self, *masks):
        self.masks = list(masks)
        self.shown = []

    def __call__(self, picture):
        self.shown.append(np.asarray(picture.rgb))
        return Prediction(self.masks.pop(0), 1 - 0.2 * len(self.shown))


def _pixels(shape=(60, 80)):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def _picture(shape=(60, 80)):
    return load_image(_pixels(shape))


def test_the_mirrored_look_is_turned_back():
    assert (with_mirrored(_brightness)(_picture()).mask == _pixels()[:, :, 0]).all()


def test_both_looks_count_alike():
    plain, mirrored = np.array([[10, 20]], dtype=np.uint8), np.array([[31, 41]], dtype=np.uint8)
    prediction = with_mirrored(_Recorder(plain, mirrored))(_picture((1, 2)))
    assert prediction.mask.tolist() == [[26, 26]]
    assert prediction.confidence == pytest.approx((0.8 + 0.6) / 2)


def test_the_mirrored_picture_is_shown():
    predict = _Recorder(*np.zeros((2, 60, 80), dtype=np.uint8))
    with_mirrored(predict)(_picture())
    assert any((shown == _pixels()[:, ::-1]).all() for shown in predict.shown)


def test_transparency_is_mirrored_and_cropped_with_the_colours():
    alpha = Image.fromarray(_pixels()[:, :, 1])
    image = Image.fromarray(_pixels())
    image.putalpha(alpha)
    picture = load_image(image)
    assert picture.mirrored().alpha == alpha.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert picture.crop((3, 4, 30, 50)).alpha == alpha.crop((3, 4, 30, 50))


def test_the_closer_look_is_at_the_subject_with_a_margin():
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[40:60, 100:140] = 255  # margins: 0.15 × 20 + 8 = 11, 0.15 × 40 + 8 = 14
    predict = _Recorder(mask, np.zeros((42, 68), dtype=np.uint8))
    with_closer(predict)(_picture((100, 200)))
    assert (predict.shown[1] == _pixels((100, 200))[29:71, 86:154]).all()


def test_the_closer_look_counts_where_it_looked_and_the_first_elsewhere():
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[40:60, 100:140] = 255
    mask[5, 5] = 100
    prediction = with_closer(_Recorder(mask, np.full((42, 68), 50, dtype=np.uint8)))(_picture((100, 200)))
    closer = prediction.mask
    assert closer[50, 120] == 153
    assert closer[29, 86] == 25
    assert closer[5, 5] == 100
    assert closer[28, 86] == 0
    assert prediction.confidence == pytest.approx(0.8)


def test_without_a_subject_there_is_no_second_look():
    predict = _Recorder(np.full((60, 80), 127, dtype=np.uint8))
    assert (with_closer(predict)(_picture()).mask == 127).all()
    assert len(predict.shown) == 1


def test_a_subject_that_fills_the_picture_gets_no_second_look():
    predict = _Recorder(np.full((60, 80), 200, dtype=np.uint8))
    with_closer(predict)(_picture())
    assert len(predict.shown) == 1
