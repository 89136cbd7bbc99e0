"""SAD, MSE, Grad and Conn: by hand, against definitions written out in loops, against scipy, on true mattes."""

import math

import numpy as np
import pytest
from PIL import Image

from u2net.evaluation.metrics import Pair
from u2net.evaluation.metrics.matting import MSE, SAD, ConnectivityError, GradientError
from u2net.images.morphology import largest_part

ALL = (SAD, MSE, GradientError, ConnectivityError)
NAMES = ("SAD", "MSE", "Grad", "Conn")


def scores(saliency, truth, region=None):
    pair = Pair(np.asarray(saliency, dtype=np.uint8), np.asarray(truth, dtype=np.uint8))
    return {name: value for measure in ALL for name, value in measure().score(pair, region).items()}


def mattes(seed, shape=(11, 14)):
    """Two alphas of smooth blobs with some flat and some noisy parts, alike but not equal."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = np.sin(y / random.uniform(0.5, 3) + seed) + np.cos(x / random.uniform(0.5, 3))
    truth = (200 * waves + 128).clip(0, 255)
    saliency = (truth + random.normal(0, 60, shape) * (random.random(shape) < 0.6)).clip(0, 255)
    return saliency.astype(np.uint8), truth.astype(np.uint8)


# By hand


def test_sad_is_the_sum_of_differences_in_thousands():
    assert scores([[0, 255], [51, 51]], [[255, 255], [51, 102]])["SAD"] == pytest.approx((1 + 0.2) / 1000)


def test_mse_is_the_mean_of_squared_differences():
    assert scores([[0, 255], [51, 51]], [[255, 255], [51, 102]])["MSE"] == pytest.approx((1 + 0.04) / 4)


def test_a_step_beside_nothing_has_the_filters_weights_as_gradient_error():
    # Across rows that are alike the bell adds up fully; at the step, so do the weights of one half of the slope.
    truth = np.zeros((9, 20), dtype=np.uint8)
    truth[:, 10:] = 255
    bell = [math.exp(-(x**2) / (2 * 1.4**2)) for x in range(-4, 5)]
    slope = [x * weight for x, weight in zip(range(-4, 5), bell, strict=True)]
    height = sum(bell) / math.sqrt(sum(w**2 for w in bell))
    length = math.sqrt(sum(w**2 for w in slope))
    beside = [height * sum(slope[8 - reach :]) / length for reach in (3, 2, 1, 0)]  # of 4, 3, 2, 1 pixels beyond it
    expected = 9 * 2 * sum(value**2 for value in beside) / 1000
    assert scores(np.zeros_like(truth), truth)["Grad"] == pytest.approx(expected)


def test_flat_alphas_have_no_gradient_error_whatever_their_levels():
    assert scores(np.full((5, 6), 40), np.full((5, 6), 200))["Grad"] == pytest.approx(0, abs=1e-20)


def test_a_piece_that_is_cut_off_counts_for_all_that_it_has():
    # The truth's bridge holds the single pixel on the right; the map's gap cuts it off for good, at threshold 0.
    truth = [[255, 255, 255, 255]]
    saliency = [[255, 255, 0, 255]]
    # The gap: 0 against 1. The pixel behind it: unconnected by 1 in both, which is no difference.
    assert scores(saliency, truth)["Conn"] == pytest.approx(1 / 1000)


def test_conn_does_not_see_what_lies_less_than_theta_above_the_last_connected_threshold():
    # Both reach 0.6 (153) together; 38 levels more are less than 0.15 (38.25), 39 are not.
    full = [255, 255, 255]
    assert scores([[*full, 153 + 38]], [[*full, 153]])["Conn"] == 0
    assert scores([[*full, 153 + 39]], [[*full, 153]])["Conn"] == pytest.approx(39 / 255 / 1000)


def test_thresholds_are_met_exactly():
    # At 153 = 0.6 the pixel is still connected: 191 lies 38 above. At 152 it is connected up to 0.5 only.
    assert scores([[255, 255, 191]], [[255, 255, 153]])["Conn"] == 0
    expected = (191 - 127.5) / 255 / 1000  # 152 itself lies less than theta above 0.5
    assert scores([[255, 255, 191]], [[255, 255, 152]])["Conn"] == pytest.approx(expected)


def test_corners_do_not_connect():
    square = [[255, 255, 0], [255, 255, 0], [0, 0, 255]]
    lower = [[255, 255, 0], [255, 255, 0], [0, 0, 128]]
    assert scores(square, lower)["Conn"] == pytest.approx((255 - 128) / 255 / 1000)


def test_an_empty_map_is_all_there_is_to_miss():
    truth = np.full((10, 10), 255)
    result = scores(np.zeros((10, 10)), truth)
    assert result["SAD"] == pytest.approx(0.1)
    assert result["MSE"] == 1
    assert result["Conn"] == pytest.approx(0.1)


# Of all four


@pytest.mark.parametrize("seed", range(5))
def test_equal_alphas_have_no_error(seed):
    _, truth = mattes(seed)
    assert scores(truth, truth) == dict.fromkeys(NAMES, 0)


@pytest.mark.parametrize("seed", range(5))
def test_map_and_truth_may_be_swapped(seed):
    saliency, truth = mattes(seed)
    assert scores(saliency, truth) == scores(truth, saliency)


@pytest.mark.parametrize("turn", [np.transpose, np.flipud, np.fliplr])
def test_pictures_may_be_turned(turn):
    saliency, truth = mattes(3, (40, 50))
    assert scores(turn(saliency), turn(truth)) == pytest.approx(scores(saliency, truth), rel=1e-12)


def test_sad_mse_and_grad_are_the_same_for_inverted_alphas():
    saliency, truth = mattes(4)
    right, inverted = scores(saliency, truth), scores(255 - saliency, 255 - truth)
    for name in ("SAD", "MSE", "Grad"):
        assert inverted[name] == pytest.approx(right[name])


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 3), (3, 40)])
def test_small_and_thin_pictures_have_errors(shape):
    result = scores(np.zeros(shape), np.full(shape, 255))
    assert result["SAD"] == pytest.approx(math.prod(shape) / 1000)
    assert all(math.isfinite(value) for value in result.values())


def test_sets_have_the_mean_of_their_pairs():
    for measure in (kind() for kind in ALL):
        parts = [measure.step(Pair(*mattes(seed))) for seed in range(3)]
        assert measure.results() == pytest.approx({name: sum(p[name] for p in parts) / 3 for name in parts[0]})


# Regions


def test_a_region_of_everything_is_the_whole_picture():
    saliency, truth = mattes(1)
    assert scores(saliency, truth, np.ones_like(truth, dtype=bool)) == pytest.approx(scores(saliency, truth))


def test_the_parts_of_a_picture_add_up():
    saliency, truth = mattes(2)
    region = np.random.default_rng(2).random(truth.shape) < 0.3
    whole, inside, outside = (scores(saliency, truth, part) for part in (None, region, ~region))
    for name in ("SAD", "Grad", "Conn"):
        assert inside[name] + outside[name] == pytest.approx(whole[name])
    assert inside["MSE"] * region.mean() + outside["MSE"] * (~region).mean() == pytest.approx(whole["MSE"])


def test_a_region_of_nothing_has_no_error():
    saliency, truth = mattes(2)
    assert scores(saliency, truth, np.zeros_like(truth, dtype=bool)) == dict.fromkeys(NAMES, 0)


def test_sets_take_a_region_with_each_pair():
    pair = Pair(*mattes(2))
    region = np.random.default_rng(2).random(pair.truth.shape) < 0.3
    measure = SAD()
    assert measure.step(pair, region) == SAD().score(pair, region) == measure.results() != SAD().score(pair)


@pytest.mark.parametrize("region", [np.full((11, 14), 128, dtype=np.uint8), np.ones((14, 11), dtype=bool)])
def test_what_is_no_region_is_refused(region):
    with pytest.raises(ValueError, match=r"a region is boolean \(11, 14\), not (uint8|bool) "):
        scores(*mattes(0), region)


# Against definitions in loops


def gradient_in_loops(alpha):
    """Magnitudes by one sum over the 81 weights of each two-dimensional filter."""
    height, width = alpha.shape
    weights = {
        (dy, dx): (math.exp(-(dx**2 + dy**2) / (2 * 1.4**2)) * dx, math.exp(-(dx**2 + dy**2) / (2 * 1.4**2)) * dy)
        for dy in range(-4, 5)
        for dx in range(-4, 5)
    }
    norm = math.sqrt(sum(across**2 for across, _ in weights.values()))
    magnitudes = np.zeros(alpha.shape)
    for y in range(height):
        for x in range(width):
            gradient = [0.0, 0.0]
            for (dy, dx), filters in weights.items():
                value = alpha[min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)] / 255
                gradient = [total + value * weight / norm for total, weight in zip(gradient, filters, strict=True)]
            magnitudes[y, x] = math.hypot(*gradient)
    return magnitudes


def largest_by_flooding(mask):
    """Parts one by one in reading order, each by walking from neighbour to neighbour."""
    best, seen = set(), set()
    for start in map(tuple, np.argwhere(mask)):
        part, todo = set(), [start]
        while todo:
            y, x = todo.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and (y, x) not in seen:
                seen.add((y, x))
                part.add((y, x))
                todo += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        if len(part) > len(best):
            best = part
    largest = np.zeros_like(mask)
    for place in best:
        largest[place] = True
    return largest


def connectivity_in_loops(saliency, truth):
    """Levels times ten against 255 times the tenths of a threshold: whole numbers."""
    parts = [
        largest_by_flooding((saliency.astype(int) * 10 >= 255 * i) & (truth.astype(int) * 10 >= 255 * i))
        for i in range(1, 11)
    ]
    total = 0.0
    for place in np.ndindex(truth.shape):
        last = next((i for i, part in enumerate(parts) if not part[place]), 10) / 10
        connected = []
        for alpha in (saliency, truth):
            distance = alpha[place] / 255 - last
            connected.append(1 - distance if distance >= 0.15 else 1)
        total += abs(connected[0] - connected[1])
    return total / 1000


@pytest.mark.parametrize("seed", range(3))
def test_grad_is_what_loops_give(seed):
    saliency, truth = mattes(seed)
    expected = ((gradient_in_loops(saliency) - gradient_in_loops(truth)) ** 2).sum() / 1000
    assert scores(saliency, truth)["Grad"] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_conn_is_what_loops_give(seed):
    saliency, truth = mattes(seed)
    assert scores(saliency, truth)["Conn"] == pytest.approx(connectivity_in_loops(saliency, truth), rel=1e-12)


@pytest.mark.parametrize("share", [0, 0.1, 0.4, 0.6, 0.7, 0.9, 1])
def test_the_largest_part_is_what_flooding_gives(share):
    random = np.random.default_rng(7)
    for shape in [(1, 1), (1, 9), (9, 1), (2, 2), (6, 7), (20, 30)]:
        for _ in range(10):
            mask = random.random(shape) < share
            np.testing.assert_array_equal(largest_part(mask), largest_by_flooding(mask))


def test_parts_that_meet_late_are_one():
    comb = np.zeros((9, 21), dtype=bool)
    comb[:, ::2] = comb[-1] = True
    snake = np.ones((9, 9), dtype=bool)
    snake[1::4, :-1] = snake[3::4, 1:] = False
    for mask in (comb, comb[::-1], comb.T, snake, snake.T):
        np.testing.assert_array_equal(largest_part(mask), mask)


# Against scipy


@pytest.mark.parametrize("seed", range(3))
def test_grad_is_scipys_gaussian_derivative_but_for_scale(seed):
    ndimage = pytest.importorskip("scipy.ndimage")
    saliency, truth = mattes(seed, (60, 80))
    offsets = np.arange(-4, 5)
    bell = np.exp(-(offsets**2) / (2 * 1.4**2))
    weights = bell / bell.sum()
    # scipy's slope is -x / sigma² times its bell of sum 1; ours has squares of sum 1
    scale = 1 / math.sqrt((weights**2).sum() * ((offsets * weights / 1.4**2) ** 2).sum())
    magnitudes = [
        scale
        * np.hypot(
            *(ndimage.gaussian_filter(a / 255, 1.4, order, radius=4, mode="nearest") for order in ((0, 1), (1, 0)))
        )
        for a in (saliency, truth)
    ]
    expected = ((magnitudes[0] - magnitudes[1]) ** 2).sum() / 1000
    assert scores(saliency, truth)["Grad"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.55, 0.59, 0.62, 0.8])
def test_the_largest_part_is_scipys(share):
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = np.random.default_rng(1).random((300, 400)) < share
    labels, _ = ndimage.label(mask)
    np.testing.assert_array_equal(largest_part(mask), labels == np.bincount(labels.ravel())[1:].argmax() + 1)


# True mattes


def test_true_mattes_at_a_networks_size_and_back_have_small_errors_near_their_edges(data):
    files = sorted((data / "matting" / "alphas").glob("*.png"))
    assert files
    for file in files:
        with Image.open(file) as picture:
            alpha = picture.convert("L")
        coarse = alpha.resize((320, 320), Image.Resampling.BILINEAR).resize(alpha.size, Image.Resampling.BILINEAR)
        truth = np.asarray(alpha)
        unknown = (truth > 0) & (truth < 255)
        whole, band = scores(np.asarray(coarse), truth), scores(np.asarray(coarse), truth, unknown)
        assert 0.3 < whole["SAD"] < 10, file.name
        assert 1e-5 < whole["MSE"] < 0.01, file.name
        assert 0.1 < whole["Grad"] < 20, file.name
        assert 0 < whole["Conn"] < 1.1 * whole["SAD"], file.name
        assert band["MSE"] > whole["MSE"], file.name
        assert all(0 < band[name] <= whole[name] for name in ("SAD", "Grad", "Conn")), file.name
