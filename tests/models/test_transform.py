import json

import numpy as np
import pytest
from PIL import Image

from u2net.models.transform import AUTHORS, REMBG, Transform


def _picture(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def _sample_slowly(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear at pixel centres, pixel by pixel, black beyond the border: the definition, written out."""
    height, width, _ = image.shape
    result = np.zeros((size[1], size[0], 3))
    for y in range(size[1]):
        for x in range(size[0]):
            v, u = (y + 0.5) * height / size[1] - 0.5, (x + 0.5) * width / size[0] - 0.5
            for j in (int(np.floor(v)), int(np.floor(v)) + 1):
                for i in (int(np.floor(u)), int(np.floor(u)) + 1):
                    if 0 <= j < height and 0 <= i < width:
                        result[y, x] += (1 - abs(v - j)) * (1 - abs(u - i)) * image[j, i]
    return result


@pytest.mark.parametrize("size", [(64, 48), (9, 7), (16, 16), (200, 3), (2, 2)])
def test_the_authors_resize_takes_four_taps_whatever_the_scale(size):
    picture = _picture(*size)
    transform = Transform(size=(16, 16), divisor="255", mean=(0, 0, 0), std=(1, 1, 1))
    expected = _sample_slowly(np.asarray(picture), (16, 16)) / 255
    np.testing.assert_allclose(transform.preprocess(picture).transpose(1, 2, 0), expected, atol=1e-6)


def test_normalisation_divides_by_the_maximum_then_by_imagenet_statistics():
    picture = Image.new("RGB", (320, 320), (100, 50, 200))
    expected = (np.array([100, 50, 200]) / 200 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(AUTHORS.preprocess(picture)[:, 160, 160], expected, rtol=1e-5)


def test_rembgs_feeding_is_pillows_lanczos_over_the_same_normalisation():
    picture = _picture(500, 333)
    pixels = np.asarray(picture.resize((320, 320), Image.Resampling.LANCZOS)).astype(np.float64)
    expected = (pixels / pixels.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(REMBG.preprocess(picture).transpose(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
def test_resizing_keeps_levels_from_0_to_255(antialias):
    resized = Transform(size=(8, 6), antialias=antialias).resize(Image.new("RGB", (8, 6), (255, 100, 0)))
    np.testing.assert_allclose(resized, np.full((6, 8, 3), [255, 100, 0], dtype=np.float32))


def test_normalisation_leaves_what_it_is_given_as_it_was():
    pixels = np.full((4, 4, 3), 200, dtype=np.float32)
    AUTHORS.normalise(pixels)
    assert (pixels == 200).all()


@pytest.mark.parametrize("color", ["black", "white", (7, 7, 7)])
def test_a_flat_picture_is_finite(color):
    assert np.isfinite(AUTHORS.preprocess(Image.new("RGB", (40, 30), color))).all()


def test_size_is_width_by_height():
    assert Transform(size=(64, 32)).preprocess(_picture(10, 10)).shape == (3, 32, 64)


def test_saliency_is_stretched_to_fill_its_range():
    output = np.linspace(0.2, 0.6, 16, dtype=np.float32).reshape(1, 4, 4)
    saliency = AUTHORS.saliency(output, (4, 4))
    assert (saliency.min(), saliency.max()) == (0, 1)


def test_saliency_keeps_its_values_when_not_stretched():
    output = np.full((1, 4, 4), 0.25, dtype=np.float32)
    np.testing.assert_allclose(Transform(stretch=False).saliency(output, (9, 5)), 0.25)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_map_is_left_alone_rather_than_divided_by_zero(value):
    saliency = AUTHORS.saliency(np.full((1, 8, 8), value, dtype=np.float32), (8, 8))
    np.testing.assert_allclose(saliency, value, atol=1e-7)


def test_saliency_and_mask_have_the_pictures_shape():
    output = np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    assert AUTHORS.saliency(output, (70, 50)).shape == AUTHORS.mask(output, (70, 50)).shape == (50, 70)


def test_the_mask_is_cut_to_whole_levels_as_the_authors_do():
    output = np.array([[[0, 0.5, 0.999, 1]]], dtype=np.float32)
    assert AUTHORS.mask(output, (4, 1)).tolist() == [[0, 127, 254, 255]]


def test_lanczos_does_not_leave_the_range():
    output = np.zeros((1, 16, 16), dtype=np.float32)
    output[:, 4:12, 4:12] = 1
    saliency = REMBG.saliency(output, (100, 100))
    assert (saliency.min(), saliency.max()) == (0, 1)


def test_logits_of_one_class_go_through_a_sigmoid_without_overflow():
    logits = np.array([[[-1000, -1, 0, 1, 1000]]], dtype=np.float32)
    saliency = Transform(output="logits", stretch=False).saliency(logits, (5, 1))
    np.testing.assert_allclose(saliency[0], [0, 0.26894142, 0.5, 0.73105858, 1], atol=1e-6)


def test_saliency_of_several_classes_is_all_but_the_background():
    logits = np.log(np.array([0.7, 0.2, 0.1], dtype=np.float32)).reshape(3, 1, 1) + 500
    saliency = Transform(output="logits", stretch=False).saliency(logits, (1, 1))
    np.testing.assert_allclose(saliency, 0.3, atol=1e-5)


def test_labels_are_decided_at_full_size_and_never_mixed_from_indices():
    output = np.zeros((4, 2, 2), dtype=np.float32)
    output[0, :, 0] = output[3, :, 1] = 1  # background left, class 3 right
    labels = Transform(stretch=False).labels(output, (40, 10))
    assert set(np.unique(labels)) == {0, 3}
    assert (labels[:, :20] == 0).all()
    assert (labels[:, 20:] == 3).all()


def test_labels_of_one_class_are_a_threshold_at_one_half():
    output = np.array([[[0.49, 0.5]]], dtype=np.float32)
    assert Transform(stretch=False).labels(output, (2, 1)).tolist() == [[0, 1]]


def test_json_round_trip():
    for transform in (AUTHORS, REMBG, Transform(size=(768, 512), output="logits", stretch=False, divisor="255")):
        assert Transform.from_json(transform.to_json()) == transform


@pytest.mark.parametrize(
    "values",
    [
        {"size": [0, 320]},
        {"size": [320]},
        {"size": 320},
        {"size": [320.5, 320]},
        {"resample": "nearest"},
        {"resample": "lanczos", "antialias": False},
        {"antialias": 1},
        {"divisor": 255},
        {"mean": [0, 0]},
        {"mean": ["a", "b", "c"]},
        {"mean": [0, float("nan"), 0]},
        {"std": [1, 0, 1]},
        {"output": "sigmoid"},
        {"stretch": "yes"},
        {"colour": "RGB"},
    ],
)
def test_values_out_of_range_and_unknown_fields_are_refused(values):
    with pytest.raises(ValueError, match="Transform"):
        Transform.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "[]", "null", '"x"', "{", "1" * 5000])
def test_anything_but_a_json_object_is_refused(text):
    with pytest.raises(ValueError, match="Transform"):
        Transform.from_json(text)
