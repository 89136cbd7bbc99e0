import numpy as np
import pytest

from u2net.cutout.matting import closed_form
from u2net.cutout.matting.closed_form import solve


def _laplacian(image, epsilon):
    """Levin's equation 12, pair by pair, window by window."""
    height, width = image.shape[:2]
    matrix = np.zeros((height * width, height * width))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            pixels = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            colors = np.array([image[pixel] for pixel in pixels], dtype=np.float64)
            mean = colors.mean(axis=0)
            inverse = np.linalg.inv(np.cov(colors.T, bias=True) + epsilon / 9 * np.eye(3))
            for i, (iy, ix) in enumerate(pixels):
                for j, (jy, jx) in enumerate(pixels):
                    affinity = (1 + (colors[i] - mean) @ inverse @ (colors[j] - mean)) / 9
                    matrix[iy * width + ix, jy * width + jx] += (i == j) - affinity
    return matrix


def _drawn(shape=(9, 11), seed=0):
    random = np.random.default_rng(seed)
    image = random.random((*shape, 3), dtype=np.float32)
    alpha = random.random(shape, dtype=np.float32)
    unknown = np.zeros(shape, dtype=bool)
    unknown[1:-2, 3:-3] = True
    return image, alpha, unknown


@pytest.mark.parametrize("prior", [0.0, 0.03])
def test_alpha_is_the_solution_of_levins_equations(prior):
    image, alpha, unknown = _drawn()
    matrix, inside = _laplacian(image, 1e-4), unknown.ravel()
    known = np.where(unknown, 0, alpha).ravel().astype(np.float64)
    held = prior + 1e-6
    right = held * alpha.ravel()[inside] - (matrix @ known)[inside]
    expected = np.linalg.solve(matrix[np.ix_(inside, inside)] + held * np.eye(inside.sum()), right).clip(0, 1)
    solved = solve(image, alpha, unknown, prior=prior, epsilon=1e-4, tolerance=1e-7, max_iterations=500)
    np.testing.assert_allclose(solved[unknown], expected, atol=1e-3)


def test_known_pixels_stay_as_they_are():
    image, alpha, unknown = _drawn()
    solved = solve(image, alpha, unknown)
    assert (solved[~unknown] == alpha[~unknown]).all()


def test_the_given_alpha_is_not_changed():
    image, alpha, unknown = _drawn()
    before = alpha.copy()
    solve(image, alpha, unknown)
    assert (alpha == before).all()


def test_an_alpha_that_is_a_function_of_colour_is_found():
    """The cost of such an alpha is 0, so nothing else is as good."""
    x = np.linspace(0, 1, 24, dtype=np.float32) ** 2
    truth = np.broadcast_to(x, (12, 24)).copy()
    image = truth[:, :, None] * np.array([0.8, 0.5, 0.1], dtype=np.float32) + np.float32(0.1)
    unknown = np.zeros(truth.shape, dtype=bool)
    unknown[:, 4:-4] = True
    start = np.where(unknown, 0.5, truth).astype(np.float32)
    solved = solve(image, start, unknown, epsilon=1e-9, tolerance=1e-6, max_iterations=1000)
    np.testing.assert_allclose(solved, truth, atol=0.01)


def test_the_two_sides_of_an_edge_in_grey_keep_their_alphas():
    image = np.zeros((12, 20, 3), dtype=np.float32)
    image[:, 10:] = 0.8
    unknown = np.zeros((12, 20), dtype=bool)
    unknown[:, 3:-3] = True
    truth = np.where(np.arange(20) < 10, 0, 1).astype(np.float32) * np.ones((12, 1), dtype=np.float32)
    solved = solve(image, np.where(unknown, np.float32(0.5), truth), unknown, tolerance=1e-6, max_iterations=1000)
    np.testing.assert_allclose(solved, truth, atol=0.01)


def test_a_heavy_prior_keeps_the_start():
    image, alpha, unknown = _drawn()
    np.testing.assert_allclose(solve(image, alpha, unknown, prior=1e4), alpha, atol=1e-3)


def test_a_prior_may_differ_from_pixel_to_pixel():
    image, alpha, unknown = _drawn((12, 20))
    prior = np.where(np.arange(20) < 10, 1e4, 0).astype(np.float32) * np.ones((12, 1), dtype=np.float32)
    solved = solve(image, alpha, unknown, prior=prior)
    left, right = unknown & (prior > 0), unknown & (prior == 0)
    assert np.abs(solved - alpha)[left].max() < 0.01 < np.abs(solved - alpha)[right].max()


def test_strips_change_nothing(monkeypatch):
    image, alpha, unknown = _drawn((30, 14))
    whole = solve(image, alpha, unknown)
    monkeypatch.setattr(closed_form, "_STRIP", 20)
    np.testing.assert_allclose(solve(image, alpha, unknown), whole, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2)])
def test_a_picture_too_small_for_a_window_keeps_the_start(shape):
    image, alpha, _ = _drawn(shape)
    np.testing.assert_allclose(solve(image, alpha, np.ones(shape, dtype=bool)), alpha, atol=1e-6)


def test_everything_unknown_in_one_colour_keeps_a_flat_start():
    start = np.full((8, 8), 0.3, dtype=np.float32)
    image = np.full((8, 8, 3), 0.5, dtype=np.float32)
    np.testing.assert_allclose(solve(image, start, np.ones((8, 8), dtype=bool)), start, atol=1e-3)


def test_nothing_unknown_changes_nothing():
    image, alpha, unknown = _drawn()
    assert (solve(image, alpha, np.zeros_like(unknown)) == alpha).all()
