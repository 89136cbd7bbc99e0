from math import exp

import numpy as np
import pytest

from u2net.evaluation.metrics import Pair, WeightedF
from u2net.evaluation.metrics.weighted_f import FARTHEST, REACH, RIM, combine, end_to_end, nearest, squared_distances


def fw(saliency, truth) -> float:
    return WeightedF().step(Pair(*(255 * np.array(part, dtype=np.uint8) for part in (saliency, truth))))["Fw"]


def slow_fw(pair: Pair) -> float:
    """The definition, a pixel at a time; of equally near pixels of the mask the leftmost, of those the upper."""
    values = pair.stretched[pair.saliency]
    error = np.abs(values - pair.mask)
    subject = [(i, j) for j, i in np.argwhere(pair.mask.T).tolist()]  # leftmost first
    spread, distance = error.copy(), np.zeros(error.shape)
    for i, j in np.argwhere(~pair.mask).tolist():
        square, place = min(((i - a) ** 2 + (j - b) ** 2, n) for n, (a, b) in enumerate(subject))
        distance[i, j], spread[i, j] = square**0.5, error[subject[place]]
    missed = 0.0
    weights = {(a, b): exp(-(a * a + b * b) / 50) for a in range(-3, 4) for b in range(-3, 4)}
    for i, j in subject:
        around = (
            weight * spread[i + a, j + b]
            for (a, b), weight in weights.items()
            if 0 <= i + a < error.shape[0] and 0 <= j + b < error.shape[1]
        )
        missed += min(error[i, j], sum(around) / sum(weights.values()))
    false = float((error * (2 - 0.5 ** (distance / 5)))[~pair.mask].sum())
    recall, precision = 1 - missed / len(subject), (len(subject) - missed) / (len(subject) - missed + false)
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def test_a_false_pixel_counts_more_the_farther_it_is():
    # All 4 pixels of the mask are found, and one that is 2 off: precision 4 / (4 + w), recall 1, w = 2 - 2^(-2/5).
    truth = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    found = [[1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert fw(found, truth) == pytest.approx(8 / (8 + 2 - 0.5**0.4))


def test_a_missed_pixel_alone_among_found_ones_counts_as_its_share_of_the_gaussian():
    # Only at the missed pixel is there an error to replace: by the Gaussian's middle. Precision is 1.
    found = [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]]
    middle = 1 / (1 + 2 * sum(exp(-(step**2) / 50) for step in (1, 2, 3))) ** 2
    recall = 1 - middle / 16
    assert fw(found, np.ones((4, 4))) == pytest.approx(2 * recall / (recall + 1))


@pytest.mark.parametrize("seed", range(40))
def test_weighted_f_is_what_its_definition_gives(seed):
    random = np.random.default_rng(seed)
    shape = random.integers(1, 25, 2)
    truth = random.random(shape) < random.choice([0.02, 0.3, 0.9])
    truth.flat[random.integers(truth.size)] = True
    levels = np.array([[10, 10, 80, 220], [120, 200, 240, 240]], dtype=np.uint8)
    saliency = np.where(truth, random.choice(levels[1], shape), random.choice(levels[0], shape))
    pair = Pair(saliency, np.where(truth, 255, 0).astype(np.uint8))
    assert WeightedF().step(pair)["Fw"] == pytest.approx(slow_fw(pair), abs=1e-6)


def test_an_empty_mask_scores_nothing_and_a_full_one_is_found_by_a_white_map():
    assert fw(np.ones((4, 4)), np.zeros((4, 4))) == 0
    assert fw(np.ones((4, 4)), np.ones((4, 4))) == pytest.approx(1)


# ---- Distances ----


def random_mask(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 40, 2)) < random.choice([0.005, 0.02, 0.1, 0.4, 0.9])
    mask.flat[random.integers(mask.size)] = True
    return mask


def search(mask: np.ndarray, place: int) -> tuple[int, int]:
    """Of all pixels of the mask the nearest, among equals the leftmost, among those the upper: by looking at each."""
    y, x = divmod(place, mask.shape[1])
    square, column, row = min(((y - i) ** 2 + (x - j) ** 2, j, i) for i, j in np.argwhere(mask).tolist())
    return square, row * mask.shape[1] + column


@pytest.mark.parametrize("seed", range(30))
def test_distances_are_what_a_search_of_all_pixels_finds(seed):
    mask = random_mask(seed)
    wanted = np.sort(np.random.default_rng(seed).integers(0, mask.size, 40))
    assert squared_distances(mask, wanted).tolist() == [search(mask, place)[0] for place in wanted.tolist()]


@pytest.mark.parametrize("seed", range(30))
def test_nearest_is_what_a_search_of_all_pixels_finds_around_a_mask(seed):
    mask = random_mask(seed)
    found = {place: search(mask, place) for place in np.flatnonzero(~mask).tolist()}
    expected = {place: there for place, (square, there) in found.items() if square < (RIM + 1) ** 2}
    pixels, places = nearest(mask)
    assert dict(zip(pixels.tolist(), places.tolist(), strict=True)) == expected


def test_distances_and_nearest_are_what_scipy_finds():
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(100, 200):
        mask = random_mask(seed)
        distance, (row, column) = ndimage.distance_transform_edt(~mask, return_indices=True)
        np.testing.assert_allclose(np.sqrt(squared_distances(mask, np.arange(mask.size))), distance.ravel())
        pixels, places = nearest(mask)
        assert places.tolist() == (row * mask.shape[1] + column).ravel()[pixels].tolist()


def test_a_pixel_has_the_same_distance_alone_and_among_all_others():
    random = np.random.default_rng(0)
    mask = np.zeros((170, 190), dtype=bool)
    mask[random.integers(40, 110, 9), random.integers(0, 190, 9)] = True
    together, some = squared_distances(mask, np.arange(mask.size)), np.arange(5, mask.size, 97)
    alone = squared_distances(mask, some)
    assert np.minimum(alone, REACH**2 + 1).tolist() == np.minimum(together[some], REACH**2 + 1).tolist()


def test_distances_are_exact_as_far_as_promised_and_beyond_it_not_less():
    mask = np.zeros((150, 400), dtype=bool)
    mask[40, 200] = mask[100, 10] = True
    y, x = np.mgrid[:150, :400]
    exact = np.minimum((y - 40) ** 2 + (x - 200) ** 2, (y - 100) ** 2 + (x - 10) ** 2).ravel()
    found = squared_distances(mask, np.arange(mask.size))
    assert (found == exact)[exact <= REACH**2].all()
    assert found[exact > REACH**2].min() > REACH**2
    assert found.max() <= FARTHEST**2


def test_nothing_wanted_is_nothing_found():
    assert len(squared_distances(np.ones((2, 2), dtype=bool), np.array([], dtype=np.intp))) == 0
    assert [len(found) for found in nearest(np.ones((2, 2), dtype=bool))] == [0, 0]


def test_rows_are_laid_out_with_a_gap_behind_each():
    padded = end_to_end(np.array([[1, 2], [3, 4]]), 1, np.uint8, 9)
    assert padded.tolist() == [[1, 2, 9], [3, 4, 9]]
    assert padded.dtype == np.uint8


@pytest.mark.parametrize(
    ("step", "expected"),
    [(1, [1, 12, 23, 34]), (-1, [21, 32, 43, 4]), (3, [1, 2, 3, 14]), (4, [1, 2, 3, 4]), (-9, [1, 2, 3, 4])],
)
def test_a_line_is_combined_with_another_moved_on_or_back(step, expected):
    line = np.array([1, 2, 3, 4])
    combine(np.add, line, np.array([10, 20, 30, 40]), step)
    assert line.tolist() == expected
