from math import exp

import numpy as np
import pytest

from u2net.evaluation.metrics import FMeasure, Pair, PictureFMeasure, WeightedF

from .pairs import PAIR, random_pair, results

F_OF_ALL = 1.3 * 0.5 / (0.3 * 0.5 + 1)  # at threshold 0 every pixel is found: precision 1/2, recall 1


# ---- Worked out by hand ----


def test_f_is_three_quarters_at_all_thresholds_but_the_lowest():
    expected = {"maxF": 0.75, "meanF": (254 * 0.75 + F_OF_ALL) / 255, "adpF": 0.75}
    assert results(FMeasure(), PAIR) == pytest.approx(expected)


def test_f_per_picture_has_one_threshold_more():
    scores = results(PictureFMeasure(), PAIR)
    assert [*scores.values()] == pytest.approx([0.75, (255 * 0.75 + F_OF_ALL) / 256, 0.75])


# ---- Definitions, directly ----


def test_f_of_a_set_is_that_of_a_loop_over_thresholds():
    pairs = [random_pair(seed) for seed in range(12)]
    curve = []
    for threshold in range(255):
        precisions, recalls = [], []
        for pair in pairs:
            found = pair.saliency.astype(int) * 255 >= threshold * int(pair.saliency.max())  # divided by its maximum
            hits = np.count_nonzero(found & pair.mask)
            precisions.append(hits / np.count_nonzero(found))
            recalls.append(hits / np.count_nonzero(pair.mask))
        precision, recall = np.mean(precisions), np.mean(recalls)
        curve.append(1.3 * precision * recall / (0.3 * precision + recall))
    measure = FMeasure()
    scores = results(measure, *pairs)
    np.testing.assert_allclose(measure.curves()["F"], curve)
    assert scores["maxF"] == pytest.approx(max(curve))
    assert scores["meanF"] == pytest.approx(sum(curve) / 255)


def test_f_of_a_set_is_not_the_mean_of_the_pictures_f():
    pairs = [random_pair(seed) for seed in range(4)]
    steps = [FMeasure().step(pair)["maxF"] for pair in pairs]
    assert results(FMeasure(), *pairs)["maxF"] != pytest.approx(np.mean(steps), abs=1e-4)


def test_the_highest_levels_share_a_threshold_in_the_authors_convention_only():
    pair = Pair(np.array([[254, 255]], dtype=np.uint8), np.array([[0, 255]], dtype=np.uint8))
    assert FMeasure().step(pair)["maxF"] == pytest.approx(1.3 * 0.5 / 1.15)
    assert PictureFMeasure().step(pair) == {"maxF per picture": 1}


def test_precision_falls_no_lower_and_recall_no_higher_than_at_threshold_zero():
    measure = FMeasure()
    results(measure, PAIR)
    curves = measure.curves()
    assert curves["precision"][0] == 0.5
    assert curves["recall"][0] == 1
    assert (np.diff(curves["recall"]) <= 0).all()


# ---- Weighted ----


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
