import numpy as np
import pytest

from u2net.cutout.matting.areas import Area
from u2net.cutout.matting.guided import LinearAlpha, explained


def _noise(shape=(14, 17), seed=0):
    return np.random.default_rng(seed).random((*shape, 3), dtype=np.float32)


def _eight_bits(image):
    return (image * 255).round().astype(np.uint8)


def _whole(function, image):
    alpha = np.zeros(image.shape[:2], dtype=np.float32)
    for area in Area.of(alpha.shape, lambda box: np.ones_like(alpha[box], dtype=bool)):
        area.put(alpha, function(area, image).clip(0, 1))
    return alpha


@pytest.mark.parametrize("radius", [1, 4])
def test_a_linear_function_of_colour_is_given_back(radius):
    image = _noise()
    alpha = image @ np.array([0.5, 0.3, -0.2], dtype=np.float32) + np.float32(0.2)
    function = LinearAlpha.fit(image, alpha, radius=radius, epsilon=1e-8)
    np.testing.assert_allclose(_whole(function, _eight_bits(image)), alpha, atol=0.005)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-5])
def test_a_function_of_grey_is_given_back(epsilon):
    image = np.repeat(_noise()[:, :, :1], 3, axis=2)
    function = LinearAlpha.fit(image, image[:, :, 0].copy(), radius=2, epsilon=epsilon)
    np.testing.assert_allclose(_whole(function, _eight_bits(image)), image[:, :, 0], atol=0.01)


def test_the_fit_is_that_of_least_squares_in_every_window():
    """One window's function by lstsq with a ridge; the middle's coefficients are the mean of nine such."""
    image, radius, epsilon = _noise((7, 7)), 1, 1e-3
    alpha = np.random.default_rng(1).random((7, 7), dtype=np.float32)
    functions = []
    for y in (2, 3, 4):
        for x in (2, 3, 4):
            window = np.s_[y - radius : y + radius + 1, x - radius : x + radius + 1]
            colors, values = image[window].reshape(-1, 3).astype(np.float64), alpha[window].ravel()
            centred = colors - colors.mean(axis=0)
            slopes = np.linalg.solve(centred.T @ centred / 9 + epsilon * np.eye(3), centred.T @ values / 9)
            functions.append([*slopes, values.mean() - slopes @ colors.mean(axis=0)])
    found = LinearAlpha.fit(image, alpha, radius=radius, epsilon=epsilon).coefficients[:, 3, 3]
    np.testing.assert_allclose(found, np.mean(functions, axis=0), rtol=1e-3, atol=1e-4)


def test_in_one_colour_the_alpha_is_smoothed():
    alpha = np.zeros((9, 9), dtype=np.float32)
    alpha[4, 4] = 1
    function = LinearAlpha.fit(np.full((9, 9, 3), 0.4, dtype=np.float32), alpha, radius=1, epsilon=1e-4)
    found = _whole(function, np.full((9, 9, 3), 102, dtype=np.uint8))
    assert found[4, 4] == pytest.approx(1 / 9, abs=1e-3)
    assert found[0, 0] == pytest.approx(0, abs=1e-3)


def test_a_larger_picture_brings_an_edge_that_the_small_one_blurred():
    large = np.zeros((80, 80, 3), dtype=np.uint8)
    large[:, 38:] = 200
    small = large.reshape(10, 8, 10, 8, 3).mean(axis=(1, 3)).astype(np.float32) / 255
    alpha = np.where(np.arange(10) < 4, 0.0, 1.0) * np.ones((10, 1))
    alpha[:, 4] = 0.25
    function = LinearAlpha.fit(small, alpha.astype(np.float32), radius=1, epsilon=1e-5)
    found = _whole(function, large)
    assert found[:, 36:38].max() < 0.15
    assert found[:, 38:40].min() > 0.85


def test_colour_explains_all_of_a_function_of_it():
    image = _noise()
    assert explained(image, image[:, :, 1].copy(), radius=3, epsilon=1e-8).min() > 0.99


def test_colour_explains_a_faint_function_of_it_too():
    """Of a variance of 0.0008; below 0.0001 there is nothing to explain."""
    image = _noise()
    assert explained(image, 0.5 + 0.1 * image[:, :, 1], radius=3, epsilon=1e-8).min() > 0.99
    assert explained(image, 0.5 + 0.003 * image[:, :, 1], radius=3, epsilon=1e-8).max() < 0.05


def test_one_colour_explains_nothing():
    alpha = np.random.default_rng(1).random((14, 17), dtype=np.float32)
    image = np.full((14, 17, 3), 0.5, dtype=np.float32)
    assert explained(image, alpha, radius=3, epsilon=1e-4).max() < 1e-3


def test_what_colour_does_not_tell_is_left_to_alpha():
    random = np.random.default_rng(0)
    noise = random.random((40, 40, 3), np.float32)
    ramp = np.linspace(0, 1, 40, dtype=np.float32)[None, :].repeat(40, axis=0)
    picture = np.uint8(noise * 255)
    found = [fit(noise, ramp, radius=4, epsilon=1e-4) for fit in (LinearAlpha.fit, LinearAlpha.fit_as_told)]
    errors = [np.abs(_whole(one, picture) - ramp).mean() for one in found]
    assert errors[1] < errors[0] / 2


def test_what_colour_tells_is_fitted_as_ever():
    random = np.random.default_rng(0)
    picture = random.random((40, 40, 3), np.float32)
    alpha = picture @ np.float32([0.2, 0.5, 0.3])
    told = LinearAlpha.fit_as_told(picture, alpha, radius=4, epsilon=1e-6)
    np.testing.assert_allclose(_whole(told, np.uint8(picture * 255)), alpha, atol=0.02)


def test_a_picture_of_16_bits_is_applied_to_with_all_of_them():
    deep = np.random.default_rng(0).integers(0, 65_536, (300, 400, 3), dtype=np.uint16)
    slopes, rest = np.array([0.4, -0.3, 0.2]), 0.35
    coefficients = np.broadcast_to(np.float32([*slopes, rest])[:, None, None], (4, 30, 40))
    alpha = _whole(LinearAlpha(coefficients), deep)
    np.testing.assert_allclose(alpha, deep / 65_535 @ slopes + rest, atol=1e-6)
