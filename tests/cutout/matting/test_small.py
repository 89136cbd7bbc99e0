import numpy as np
import pytest
from PIL import Image

from u2net.cutout.matting.small import enlarged, mask_size, reduced


@pytest.mark.parametrize("samples", [None, 4, 8])
def test_of_few_pixels_the_means_of_all_are_taken(samples):
    image = np.random.default_rng(0).integers(0, 256, (1024, 512, 3), dtype=np.uint8)
    expected = image.reshape(256, 4, 128, 4, 3).mean(axis=(1, 3)) / 255
    for given in (image, Image.fromarray(image), image.astype(np.uint16) * 257):
        np.testing.assert_allclose(reduced(given, samples), expected, atol=1.01 / 255)


def test_of_many_pixels_some_are_taken_evenly():
    ramp = np.linspace(0, 255, 6400, dtype=np.float32).round().astype(np.uint8)[None].repeat(3200, axis=0)
    small = reduced(ramp, 4)
    assert small.shape == (128, 256)
    np.testing.assert_allclose(small[0], (np.arange(256) + 0.5) / 256, atol=1 / 255)
    np.testing.assert_array_equal(small, reduced(Image.fromarray(ramp), 4))


def test_noise_is_averaged_away_in_large_pictures_too():
    noise = np.random.default_rng(0).normal(128, 10, (2304, 4096)).round().clip(0, 255).astype(np.uint8)
    all_of_them, some = ((reduced(noise, samples) * 255 - 128).std() for samples in (None, 8))
    assert all_of_them < 0.75 < some < 1.4  # means of 144 and of 64 pixels


def test_a_small_picture_stays():
    image = np.random.default_rng(0).integers(0, 256, (3, 200), dtype=np.uint8)
    np.testing.assert_allclose(reduced(image, 4), image / 255, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (600, 400), (2048, 3), (4242, 2828), (2900, 3111), (12000, 1000)])
def test_a_mask_of_less_pixels_tells_as_much(size):
    width, height = mask_size(size)
    assert min(320, *size) <= min(width, height) <= 640
    ramp = Image.linear_gradient("L")
    one, other = (reduced(np.asarray(ramp.resize(each, Image.Resampling.BILINEAR))) for each in (size, (width, height)))
    assert one.shape == other.shape
    np.testing.assert_allclose(one, other, atol=2 / 255)


def test_a_mask_is_enlarged_by_the_nearest():
    mask = np.array([[True, False], [False, True]])
    whole = (slice(0, 4), slice(0, 6))
    expected = np.kron(mask, np.ones((2, 3), dtype=bool))
    assert (enlarged(mask, whole, (4, 6)) == expected).all()
    assert (enlarged(mask, (slice(1, 3), slice(2, 6)), (4, 6)) == expected[1:3, 2:6]).all()
