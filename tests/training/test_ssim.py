import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from u2net.training.ssim import Similarity, blur


def _map(seed: int, shape: tuple[int, ...] = (1, 1, 24, 31)) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _within(values: np.ndarray) -> np.ndarray:
    """Gaussian means of the windows of 11 × 11 that lie within, as scipy finds them."""
    return gaussian_filter(values, 1.5, radius=5)[5:-5, 5:-5]


def test_windows_are_gaussian_means():
    values = _map(0)
    np.testing.assert_allclose(blur(values)[0, 0], _within(values[0, 0].numpy()), atol=1e-12)


def test_similarity_is_that_of_wang_et_al():
    maps, truth = _map(1), _map(2)
    x, y = maps[0, 0].numpy(), truth[0, 0].numpy()
    mean_x, mean_y = _within(x), _within(y)
    var_x, var_y = _within(x * x) - mean_x**2, _within(y * y) - mean_y**2
    covariance = _within(x * y) - mean_x * mean_y
    expected = (2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)
    expected /= (mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)
    assert float(Similarity(truth)(maps)) == pytest.approx(expected.mean(), abs=1e-12)


def test_one_window_by_hand():
    # Flat pictures have no variance: of the two factors only (2ab + C1) / (a² + b² + C1) is left.
    flat = torch.full((1, 1, 11, 11), 0.5, dtype=torch.float64)
    assert float(Similarity(flat)(flat * 0.5)) == pytest.approx((0.25 + 1e-4) / (0.25 + 0.0625 + 1e-4))


def test_equal_maps_are_alike_and_a_batch_scores_the_mean():
    truth = _map(3, (2, 1, 16, 16))
    assert float(Similarity(truth)(truth)) == pytest.approx(1)
    halves = [float(Similarity(truth[i : i + 1])(1 - truth[i : i + 1])) for i in range(2)]
    assert float(Similarity(truth)(1 - truth)) == pytest.approx(np.mean(halves))


def test_gradients_are_those_of_differences():
    similarity = Similarity(_map(4, (1, 1, 12, 13)))
    assert torch.autograd.gradcheck(similarity, _map(5, (1, 1, 12, 13)).requires_grad_())
    assert torch.autograd.gradgradcheck(blur, _map(6, (1, 1, 12, 11)).requires_grad_())
