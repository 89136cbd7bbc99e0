import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter
from torch.nn.functional import binary_cross_entropy

from u2net.training import MODERN, PAPER, TrainConfig
from u2net.training.loss import Loss, Similarity, blur

FUSED = (1.0, 0, 0, 0, 0, 0, 0)
FULL = replace(MODERN, ssim=1.0)
CLASSES = replace(PAPER, classes=("a", "b", "c"), iou=1.0, class_weights=(1.0, 2.0, 4.0))


def _maps(*shape: int, scale: float = 3, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple((scale * torch.randn(shape, generator=generator, dtype=dtype)).requires_grad_() for _ in range(7))


def _masks(*shape: int, high: int = 256) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def _cost(config: TrainConfig, logits: list, masks: list) -> float:
    """The loss of one fused map that is written as nested lists, (K, H, W), and its mask, (H, W)."""
    fused = torch.tensor([logits], dtype=torch.float64)
    rest = (torch.zeros_like(fused),) * 6
    loss = Loss(replace(config, side_weights=FUSED))
    return loss((fused, *rest), torch.tensor([[masks]], dtype=torch.uint8)).total.item()


# ---- One class -----------------------------------------------------------------------------------------------


def test_by_default_it_is_the_papers_sum_of_seven_cross_entropies():
    maps, masks = _maps(2, 1, 9, 7), _masks(2, 1, 9, 7)
    truth = masks.double() / 255
    expected = [binary_cross_entropy(torch.sigmoid(side), truth).item() for side in maps]
    value = Loss(PAPER)(maps, masks)
    assert value.total.item() == pytest.approx(sum(expected), rel=1e-12)
    assert value.fused.item() == pytest.approx(expected[0], rel=1e-12)


def test_cross_entropy_by_hand():
    # ln 3 stands for a probability of 3/4.
    assert _cost(PAPER, [[[math.log(3), 0]]], [[255, 0]]) == pytest.approx((-math.log(3 / 4) + math.log(2)) / 2)


def test_grey_truth_is_a_probability():
    truth = 128 / 255
    entropy = -(truth * math.log(truth) + (1 - truth) * math.log(1 - truth))
    assert _cost(PAPER, [[[math.log(truth / (1 - truth))]]], [[128]]) == pytest.approx(entropy)


def test_intersection_over_union_by_hand():
    # Probabilities 3/4 and 1/2, truth 1 and 0: intersection 3/4, union 5/4 + 1 − 3/4, and a pixel more of each.
    config = replace(PAPER, bce=0, iou=1.0)
    assert _cost(config, [[[math.log(3), 0]]], [[255, 0]]) == pytest.approx(1 - (0.75 + 1) / (1.5 + 1))


def test_an_empty_mask_met_by_an_empty_map_costs_nothing():
    config = replace(PAPER, iou=1.0, ssim=1.0)
    assert _cost(config, [[[-50] * 12] * 12], [[0] * 12] * 12) == pytest.approx(0, abs=1e-12)


def test_pixels_near_outlines_weigh_more_and_the_mean_weight_is_one():
    masks = torch.zeros(2, 1, 44, 44, dtype=torch.uint8)
    masks[0, :, 10:30, 5:25] = 255
    loss = Loss(replace(PAPER, edge=5.0, side_weights=FUSED))
    maps = tuple(torch.zeros(2, 1, 44, 44, dtype=torch.float64, requires_grad=True) for _ in range(7))
    loss(maps, masks).total.backward()
    weights = maps[0].grad.abs() / (0.5 / masks.numel())  # of log 2 the slope is one half everywhere
    assert weights.mean((1, 2, 3)).tolist() == pytest.approx([1, 1])
    truth = (masks[0, 0] / 255).numpy().astype(float)
    counts = np.pad(np.ones_like(truth), 2)  # 15/352 of 44 pixels are 2: squares of 5
    means = uniform_filter(np.pad(truth, 2), 5, mode="constant") / uniform_filter(counts, 5, mode="constant")
    expected = 1 + 5 * np.abs(means[2:-2, 2:-2] - truth)
    np.testing.assert_allclose(weights[0, 0], expected / expected.mean(), rtol=1e-9)
    assert weights[1].unique().numel() == 1


# ---- Several classes -----------------------------------------------------------------------------------------


def test_categorical_cross_entropy_by_hand():
    # At logits ln 2, 0, 0 classes have probabilities 1/2, 1/4, 1/4. The pixel of class 2 counts four times.
    config = replace(CLASSES, iou=0.0)
    logits = [[[math.log(2)] * 2], [[0, 0]], [[0, 0]]]
    assert _cost(config, logits, [[0, 2]]) == pytest.approx((math.log(2) + 4 * math.log(4)) / 5)
    assert _cost(replace(config, class_weights=()), logits, [[0, 2]]) == pytest.approx(math.log(8) / 2)


def test_intersection_over_union_is_averaged_over_classes_that_occur():
    # Of class 0: intersection 1/2, union 1 + 1 − 1/2; of class 2: 1/4, and 1/2 + 1 − 1/4; of class 1 nothing is there.
    config = replace(CLASSES, bce=0.0)
    logits = [[[math.log(2)] * 2], [[0, 0]], [[0, 0]]]
    expected = 1 - (1.5 / 2.5 + 1.25 / 2.25) / 2
    assert _cost(config, logits, [[0, 2]]) == pytest.approx(expected)


def test_what_is_ignored_does_not_count_and_has_no_gradient():
    maps, masks = _maps(2, 3, 6, 6), _masks(2, 1, 6, 6, high=3)
    masks[:, :, :, 4:] = 255
    value = Loss(CLASSES)(maps, masks)
    value.total.backward()
    assert all(not side.grad[..., 4:].any() and side.grad[..., :4].all() for side in maps)
    cut = Loss(CLASSES)(tuple(side[..., :4] for side in maps), masks[..., :4])
    assert value.total.item() == pytest.approx(cut.total.item())


def test_any_index_can_be_the_ignored_one():
    maps, masks = _maps(1, 3, 6, 6), _masks(1, 1, 6, 6, high=3)
    other = torch.where(masks == 1, 255, masks)
    by_number = [Loss(replace(CLASSES, ignore_index=i))(maps, m).total.item() for i, m in ((1, masks), (255, other))]
    assert by_number[0] == by_number[1]


def test_nothing_to_learn_from_costs_nothing_and_moves_nothing():
    maps = _maps(1, 3, 6, 6)
    value = Loss(CLASSES)(maps, torch.full((1, 1, 6, 6), 255, dtype=torch.uint8))
    value.total.backward()
    assert value.total.item() == float(value.fused) == 0
    assert all(not side.grad.any() for side in maps)


def test_classes_of_weight_nothing_alone_cost_nothing():
    config = replace(CLASSES, iou=0.0, class_weights=(0.0, 1.0, 1.0))
    assert _cost(config, [[[1, 2]], [[0, 0]], [[0, 0]]], [[0, 0]]) == 0


# ---- Both ----------------------------------------------------------------------------------------------------


def test_sides_are_weighted_and_terms_scaled():
    maps, masks = _maps(1, 1, 16, 16), _masks(1, 1, 16, 16)
    terms = []
    for i in range(7):
        weights = tuple(float(i == j) for j in range(7))
        parts = ({"bce": 1.0, "iou": 0.0}, {"bce": 0.0, "iou": 1.0}, {"bce": 0.0, "iou": 0.0, "ssim": 1.0})
        terms.append([Loss(replace(PAPER, side_weights=weights, **part))(maps, masks).total.item() for part in parts])
    config = replace(PAPER, bce=2.0, iou=3.0, ssim=0.5, side_weights=(1.0, 0.5, 0.0, 2.0, 1.0, 0.25, 3.0))
    expected = np.array(config.side_weights) @ np.array(terms) @ [2, 3, 0.5]
    assert Loss(config)(maps, masks).total.item() == pytest.approx(expected)


def test_maps_of_weight_nothing_are_not_looked_at():
    maps, masks = _maps(1, 1, 16, 16), _masks(1, 1, 16, 16)
    broken = (*maps[:3], torch.full_like(maps[3], math.nan), *maps[4:])
    value = Loss(replace(FULL, side_weights=(1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)))(broken, masks)
    assert value.total.isfinite()


@pytest.mark.parametrize("config", [FULL, CLASSES], ids=["one class", "several"])
def test_gradients_are_those_of_differences(config):
    maps = _maps(1, config.num_classes, 12, 11, scale=1)
    masks = _masks(1, 1, 12, 11, high=256 if config.num_classes == 1 else 3)
    config = replace(config, side_weights=(1.0, 0.5) + (0.0,) * 5)
    loss = Loss(config)
    assert torch.autograd.gradcheck(lambda *first: loss((*first, *maps[2:]), masks).total, maps[:2])


@pytest.mark.parametrize("config", [FULL, CLASSES], ids=["one class", "several"])
@pytest.mark.parametrize("level", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("truth", ["empty", "full", "mixed"])
def test_far_logits_cost_and_slope_something_finite(config, level, truth):
    maps = tuple(torch.full((2, config.num_classes, 16, 16), level, requires_grad=True) for _ in range(7))
    highest = 255 if config.num_classes == 1 else 2
    masks = {"empty": torch.zeros, "full": torch.ones, "mixed": torch.ones}[truth](2, 1, 16, 16, dtype=torch.uint8)
    masks *= highest
    if truth == "mixed":
        masks[:, :, ::2] = 0
    value = Loss(config)(maps, masks)
    value.total.backward()
    assert value.total.isfinite()
    assert all(torch.isfinite(side.grad).all() for side in maps)


@pytest.mark.parametrize("config", [FULL, CLASSES], ids=["one class", "several"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_even_under_autocast(config, dtype):
    maps = _maps(2, config.num_classes, 16, 16, dtype=torch.float32)
    masks = _masks(2, 1, 16, 16, high=256 if config.num_classes == 1 else 3)
    narrow = tuple(side.detach().to(dtype).requires_grad_() for side in maps)
    with torch.autocast("cpu", torch.bfloat16):
        value = Loss(config)(narrow, masks)
    value.total.backward()
    same = Loss(config)(tuple(side.detach().float() for side in narrow), masks)
    assert value.total.dtype == torch.float32
    assert value.total.item() == same.total.item()
    assert narrow[0].grad.dtype == dtype


def test_outlines_of_classes_weigh_what_those_of_a_subject_do():
    """With the background's logit at 0 and a class that never occurs, cross-entropy of classes is the binary one."""
    mask = torch.zeros(1, 1, 40, 48, dtype=torch.uint8)
    mask[..., 10:30, 12:40] = 1
    subject = torch.randn(1, 1, 40, 48, generator=torch.Generator().manual_seed(3))
    classes = torch.cat((torch.zeros_like(subject), subject, torch.full_like(subject, -1e4)), dim=1)
    config = replace(PAPER, edge=5.0, side_weights=FUSED)
    binary = Loss(config)((subject,) * 7, mask * 255).total
    several = Loss(replace(config, classes=("background", "leaf", "stem")))((classes,) * 7, mask).total
    assert several.item() == pytest.approx(binary.item(), rel=1e-5)


# ---- Structural similarity ------------------------------------------------------------------------------------


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


def test_gradients_of_similarity_are_those_of_differences():
    similarity = Similarity(_map(4, (1, 1, 12, 13)))
    assert torch.autograd.gradcheck(similarity, _map(5, (1, 1, 12, 13)).requires_grad_())
    assert torch.autograd.gradgradcheck(blur, _map(6, (1, 1, 12, 11)).requires_grad_())
