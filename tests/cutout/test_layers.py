import numpy as np
import pytest
from PIL import Image, ImageFilter

from u2net.cutout.layers import blurred, enlarged, joined, means, opacity, over, repeated
from u2net.images.picture import to_8_bits, to_16_bits, to_floats


def _levels(seed: int, shape: tuple[int, ...] = (300, 20, 4)) -> np.ndarray:
    """Random levels of 16 bits; the alpha is nothing in the first columns and everything in the next."""
    levels = np.random.default_rng(seed).integers(0, 65_536, shape, dtype=np.uint16)
    levels[:, :5, 3], levels[:, 5:10, 3] = 0, 65_535
    return levels


def test_in_16_bits_one_layer_over_another_is_what_porter_and_duff_say():
    front, behind = _levels(0), _levels(1)
    (one, own), (other, rest) = ((levels[..., :3] / 65_535, levels[..., 3:] / 65_535) for levels in (front, behind))
    alpha = own + rest * (1 - own)
    colors = (one * own + other * rest * (1 - own)) / np.maximum(alpha, 1e-9)
    made = over(front, behind)
    np.testing.assert_allclose(made[..., 3], alpha[..., 0] * 65_535, atol=0.51)
    seen = made[..., 3] > 0
    np.testing.assert_allclose(made[seen, :3], colors[seen] * 65_535, atol=0.6)


def test_in_8_bits_it_is_the_same_more_coarsely():
    front, behind = (Image.fromarray(to_8_bits(_levels(seed))) for seed in (0, 1))
    flat = np.asarray(over(front, behind))
    fine = over(*(to_16_bits(np.asarray(layer)) for layer in (front, behind))) / 257
    weight = flat[..., 3:] / 255  # colours of faint pixels are coarse in 8 bits
    assert np.abs((flat - fine) * weight).max() <= 1.01


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_are_joined(dtype):
    channels = [np.full((3, 2), level, dtype) for level in (1, 2, 3, 4)]
    layer = joined([Image.fromarray(channel) for channel in channels])
    np.testing.assert_array_equal(np.asarray(layer), np.stack(channels, axis=2))
    np.testing.assert_array_equal(opacity(layer), channels[3])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_column_is_repeated(dtype):
    column = np.arange(12, dtype=dtype).reshape(3, 4)
    layer = np.asarray(repeated(column, 5))
    assert layer.shape == (3, 5, 4)
    assert (layer == column[:, None]).all()


def test_means_are_of_squares_and_repeat_the_border():
    values = np.random.default_rng(0).random((11, 8, 2), dtype=np.float32)
    found = means(lambda rows: values[rows], 11, 3)
    assert found.shape == (4, 3, 2)
    repeated = np.pad(values, [(0, 1), (0, 1), (0, 0)], mode="edge")
    np.testing.assert_allclose(found, repeated.reshape(4, 3, 3, 3, 2).mean(axis=(1, 3)), rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.03, 0.8, 1, 4, 7.9])
def test_blurred_is_what_pillow_makes_of_it(sigma):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8))
    found = blurred(to_floats(np.asarray(image))[:, :, None], sigma)[:, :, 0] * 255
    assert np.abs(found - np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)))).max() <= 2.5  # it rounds six times


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_ramp_is_enlarged_to_a_ramp(dtype):
    small = np.tile((np.arange(12, dtype=np.float32) + 0.5) / 12, (5, 1))
    ramp = np.asarray(enlarged(small, (93, 37), 8, dtype))
    assert (ramp.shape, ramp.dtype) == ((37, 93), dtype)
    down = np.tile((np.arange(93) + 0.5) / 96, (37, 1))
    np.testing.assert_allclose((ramp / np.iinfo(dtype).max)[:, 20:-20], down[:, 20:-20], atol=0.01)
