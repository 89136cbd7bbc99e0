import numpy as np
import pytest

from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.net.calibration import LEVELS, Values, best_scale, observe
from u2net.net.export import to_onnx


def values_of(map_: np.ndarray) -> Values:
    """As `observe` counts them, of a map (C, N)."""
    counts, _ = np.histogram(map_, 4096, (0, map_.max()))
    return Values(map_.min(axis=1), map_.max(axis=1), counts)


def error(map_: np.ndarray, scale: float) -> float:
    return float(((np.round(map_ / scale).clip(0, LEVELS) * scale - map_) ** 2).sum())


def test_the_scale_is_the_one_with_the_least_squared_error():
    random = np.random.default_rng(0)
    map_ = np.maximum(random.standard_normal((8, 20_000)), 0).astype(np.float32)
    map_[0, 0] = 8
    scale, zero = best_scale([values_of(map_)])
    others = [error(map_, 8 * share / LEVELS) for share in np.linspace(0.2, 1, 81)]
    assert error(map_, scale) == pytest.approx(min(others), rel=0.02)
    assert scale * LEVELS < 7.5
    assert error(map_, scale) < 0.95 * others[-1]  # which cuts nothing
    assert zero == 0


def test_maps_that_share_a_scale_count_alike():
    small, large = (values_of(np.full((1, 1000), value, np.float32)) for value in (1, 4))
    assert best_scale([small, large]) == best_scale([large, small])
    assert best_scale([small, large])[0] * LEVELS == pytest.approx(4, abs=0.1)


def test_what_has_values_below_0_is_not_cut_and_0_is_whole():
    scale, zero = best_scale([values_of(np.array([[-1, 0, 3]], np.float32))])
    assert scale == pytest.approx(4 / LEVELS)
    assert zero == 64


def test_a_map_that_is_always_0_has_a_scale():
    scale, _ = best_scale([Values(np.zeros(1, np.float32), np.zeros(1, np.float32), np.ones(4096, np.int64))])
    assert scale > 0


def test_all_pictures_and_maps_are_observed(tiny, run_onnx):

    model = to_onnx(tiny, Card("a", Transform(size=(48, 40))))
    name = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    pictures = [np.random.default_rng(seed).standard_normal((1, 3, 40, 48), np.float32) for seed in range(3)]
    seen = observe(model, [name], pictures)
    assert set(seen) == {"input", name}
    np.testing.assert_allclose(seen["input"].low, np.min(pictures, axis=(0, 1, 3, 4)))
    np.testing.assert_allclose(seen["input"].high, np.max(pictures, axis=(0, 1, 3, 4)))
    assert seen[name].low.min() >= 0
    assert seen[name].counts.sum() == 3 * -(-seen[name].high.size * 40 * 48 // 7)
