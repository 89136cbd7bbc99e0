import numpy as np
import pytest

from u2net.cutout.matting.guided import Cholesky


def _lower(matrices):
    return [matrices[:, i, j] for i in range(3) for j in range(i + 1)]


def _covariances(num=50):
    vectors = np.random.default_rng(0).normal(size=(num, 3, 5))
    return vectors @ vectors.transpose(0, 2, 1)


def test_solutions_are_those_of_lapack():
    matrices, right = _covariances(), np.random.default_rng(1).normal(size=(3, 50))
    expected = np.linalg.solve(matrices, right.T[:, :, None])[:, :, 0].T
    np.testing.assert_allclose(Cholesky.of(*_lower(matrices)).solve(*right), expected, rtol=1e-8)


def test_whitened_vectors_have_the_inverse_for_their_product():
    matrices, vectors = _covariances(), np.random.default_rng(1).normal(size=(3, 50))
    whitened = np.array(Cholesky.of(*_lower(matrices)).whiten(*vectors))
    expected = np.einsum("in,nij,jn->n", vectors, np.linalg.inv(matrices), vectors)
    np.testing.assert_allclose((whitened**2).sum(axis=0), expected, rtol=1e-8)


@pytest.mark.parametrize(("ridge", "kind", "tolerance"), [(1e-8, np.float64, 1e-6), (1e-5, np.float32, 0.02)])
def test_grey_pictures_keep_their_ridge(ridge, kind, tolerance):
    """All covariances of a grey picture are alike; a step along grey costs what it costs in one channel."""
    matrix = np.full((1, 3, 3), 0.15) + ridge * np.eye(3)
    factor = Cholesky.of(*(entry.astype(kind) for entry in _lower(matrix)))
    slopes = factor.solve(*np.full((3, 1), 0.15, dtype=kind))
    np.testing.assert_allclose(np.concatenate(slopes), 0.15 / (0.45 + ridge), rtol=tolerance)
