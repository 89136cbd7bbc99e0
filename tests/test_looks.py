import numpy as np

from u2net.looks import with_closer, with_mirrored


def _brightness(image):
    """A stand-in for a network: the mask is the red channel."""
    return np.ascontiguousarray(image[:, :, 0])


class _Recorder:
    """Predicts one mask after the other, and keeps what it was shown."""

    def __init__(self, *masks):
        self.masks = list(masks)
        self.shown = []

    def __call__(self, image):
        assert image.flags.c_contiguous
        self.shown.append(image)
        return self.masks.pop(0)


def _picture(shape=(60, 80)):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_the_mirrored_look_is_turned_back():
    image = _picture()
    assert (with_mirrored(_brightness)(image) == image[:, :, 0]).all()


def test_both_looks_count_alike():
    plain, mirrored = np.array([[10, 20]], dtype=np.uint8), np.array([[31, 41]], dtype=np.uint8)
    predict = _Recorder(mirrored, plain)
    assert with_mirrored(predict)(_picture((1, 2))).tolist() == [[26, 26]]


def test_the_mirrored_picture_is_shown():
    image = _picture()
    predict = _Recorder(*np.zeros((2, 60, 80), dtype=np.uint8))
    with_mirrored(predict)(image)
    assert any((shown == image[:, ::-1]).all() for shown in predict.shown)


def test_the_closer_look_is_at_the_subject_with_a_margin():
    image, mask = _picture((100, 200)), np.zeros((100, 200), dtype=np.uint8)
    mask[40:60, 100:140] = 255  # margins: 0.15 × 20 + 8 = 11, 0.15 × 40 + 8 = 14
    predict = _Recorder(mask, np.zeros((42, 68), dtype=np.uint8))
    with_closer(predict)(image)
    assert (predict.shown[1] == image[29:71, 86:154]).all()


def test_the_closer_look_counts_where_it_looked_and_the_first_elsewhere():
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[40:60, 100:140] = 255
    mask[5, 5] = 100
    closer = with_closer(_Recorder(mask, np.full((42, 68), 50, dtype=np.uint8)))(_picture((100, 200)))
    assert closer[50, 120] == 153
    assert closer[29, 86] == 25
    assert closer[5, 5] == 100
    assert closer[28, 86] == 0


def test_without_a_subject_there_is_no_second_look():
    predict = _Recorder(np.full((60, 80), 127, dtype=np.uint8))
    assert (with_closer(predict)(_picture()) == 127).all()
    assert len(predict.shown) == 1


def test_a_subject_that_fills_the_picture_gets_no_second_look():
    predict = _Recorder(np.full((60, 80), 200, dtype=np.uint8))
    with_closer(predict)(_picture())
    assert len(predict.shown) == 1
