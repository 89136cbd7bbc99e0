from math import exp

import numpy as np
import pytest

from u2net.evaluation.metrics import Pair, WeightedF


def fw(saliency, truth) -> float:
    return WeightedF().step(Pair(*(255 * np.array(part, dtype=np.uint8) for part in (saliency, truth))))["Fw"]


def slow(pair: Pair) -> float:
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
    assert WeightedF().step(pair)["Fw"] == pytest.approx(slow(pair), abs=1e-6)


def test_an_empty_mask_scores_nothing_and_a_full_one_is_found_by_a_white_map():
    assert fw(np.ones((4, 4)), np.zeros((4, 4))) == 0
    assert fw(np.ones((4, 4)), np.ones((4, 4))) == pytest.approx(1)
