from math import sqrt

import pytest

from u2net.evaluation.metrics import EMeasure, SMeasure

from .pairs import PAIR, results


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
