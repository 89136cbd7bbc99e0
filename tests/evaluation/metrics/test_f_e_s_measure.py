from math import sqrt

import numpy as np
import pytest

from u2net.evaluation.metrics import EMeasure, FMeasure, Pair, PictureFMeasure, SMeasure

from .pairs import PAIR, random_pair, results

F_OF_ALL = 1.3 * 0.5 / (0.3 * 0.5 + 1)  # at threshold 0 every pixel is found: precision 1/2, recall 1


# ---- Worked out by hand ----


def test_f_is_three_quarters_at_all_thresholds_but_the_lowest():
    expected = {"maxF": 0.75, "meanF": (254 * 0.75 + F_OF_ALL) / 255, "adpF": 0.75}
    assert results(FMeasure(), PAIR) == pytest.approx(expected)


def test_f_per_picture_has_one_threshold_more():
    scores = results(PictureFMeasure(), PAIR)
    assert [*scores.values()] == pytest.approx([0.75, (255 * 0.75 + F_OF_ALL) / 256, 0.75])


def test_e_counts_the_pixels_that_agree():
    # Map and mask both have a mean of 1/2. Where they agree alignment is 1, elsewhere -1: (1 + 1)² / 4 and 0.
    # At threshold 0 the map without its mean is 0 everywhere: (0 + 1)² / 4 for 16 pixels. E divides by 15.
    expected = {"maxE": 12 / 15, "meanE": (255 * 12 / 15 + 4 / 15) / 256, "adpE": 12 / 15}
    assert results(EMeasure(), PAIR) == pytest.approx(expected)


def test_s_is_half_objects_and_half_quadrants():
    # Inside and outside alike, 6 of 8 values are 1: mean 3/4, variance (6 × 1/16 + 2 × 9/16) / 7.
    objects = 2 * 0.75 / (0.75**2 + 1 + sqrt(1.5 / 7))
    # The mask's centre is (1.5, 0.5), rounded (2, 0). Its column above and below, 3 and 1 pixels, is all right: 1.
    # Right above, 9 pixels: means 1/3, variances 2/8, covariance 1/8: 4/9 × 1/8 / (2/9 × 4/8) = 1/2.
    # Right below, 3 pixels: means 1/3, variances 1/3, covariance -1/6: 4/9 × -1/6 / (2/9 × 2/3) = -1/2.
    quadrants = (3 * 1 + 9 / 2 + 1 * 1 - 3 / 2) / 16
    assert results(SMeasure(), PAIR) == pytest.approx({"Sm": (objects + quadrants) / 2})


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
