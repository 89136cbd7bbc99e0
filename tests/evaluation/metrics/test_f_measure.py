import pickle
from math import sqrt

import numpy as np
import pytest

from u2net.evaluation.metrics import (
    MAE,
    BoundaryIoU,
    EMeasure,
    FMeasure,
    Overlap,
    Pair,
    PictureFMeasure,
    RelaxedF,
    SMeasure,
    WeightedF,
)

ALL = [MAE, Overlap, FMeasure, PictureFMeasure, EMeasure, SMeasure, WeightedF, RelaxedF, BoundaryIoU]

# Of the mask's 8 pixels 6 are found, and 2 are found outside of it: precision and recall are 6/8.
TRUTH = 255 * np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]], dtype=np.uint8)
FOUND = 255 * np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]], dtype=np.uint8)
PAIR = Pair(FOUND, TRUTH)
F_OF_ALL = 1.3 * 0.5 / (0.3 * 0.5 + 1)  # at threshold 0 every pixel is found: precision 1/2, recall 1


def results(measure, *pairs: Pair) -> dict[str, float]:
    for pair in pairs:
        measure.step(pair)
    return measure.results()


def random_pair(seed: int) -> Pair:
    """A mask of blocks and a noisy map of it, neither of which fills its range."""
    random = np.random.default_rng(seed)
    height, width = random.integers(8, 30, 2)
    truth = (random.random((8, 8)) < 0.4).repeat(4, 0).repeat(4, 1)[:height, :width]
    saliency = (60 * truth + random.integers(5, 180, truth.shape)).astype(np.uint8)
    return Pair(saliency, np.where(truth, 255, 0).astype(np.uint8))


# ---- Worked out by hand ----------------------------------------------------------------------------------------


def test_mae_is_the_share_of_wrong_pixels_of_a_binary_map():
    assert results(MAE(), PAIR) == {"MAE": 4 / 16, "MAE stretched": 4 / 16}


def test_mae_of_a_grey_map_is_given_as_it_is_and_stretched():
    # 51 and 204 are 0.2 and 0.8, stretched 0 and 1: wrong by 0.2 each, or not at all.
    pair = Pair(np.where(TRUTH > 0, 204, 51).astype(np.uint8), TRUTH)
    assert results(MAE(), pair) == pytest.approx({"MAE": 0.2, "MAE stretched": 0})


def test_overlap_is_six_of_ten_pixels():
    assert results(Overlap(), PAIR) == {"IoU": 6 / 10, "Dice": 12 / 16}


def test_overlap_cuts_at_128():
    pair = Pair(np.array([[127, 128]], dtype=np.uint8), np.array([[255, 255]], dtype=np.uint8))
    assert results(Overlap(), pair) == {"IoU": 1 / 2, "Dice": 2 / 3}


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


# ---- Definitions, directly -------------------------------------------------------------------------------------


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


# ---- What holds of all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ALL)
def test_a_map_equal_to_its_mask_is_perfect(kind, seed):
    truth = random_pair(seed).truth
    scores = results(kind(), Pair(truth, truth))
    best = max(value for name, value in scores.items() if not name.startswith("mean"))
    if kind is MAE:
        assert best == 0
    else:
        assert best == pytest.approx(truth.size / (truth.size - 1) if kind is EMeasure else 1)


@pytest.mark.parametrize("kind", ALL)
def test_upside_down_or_on_its_side_a_pair_scores_the_same(kind):
    pair = random_pair(3)
    turned = [Pair(turn(pair.saliency), turn(pair.truth)) for turn in (np.flipud, np.fliplr, np.transpose)]
    if kind is SMeasure:  # cuts behind the centre of mass: its own pixels lie above and left
        turned = turned[2:]
    tolerance = 1e-2 if kind is WeightedF else 1e-12  # of equally near pixels it takes the leftmost
    for other in turned:
        assert results(kind(), other) == pytest.approx(results(kind(), pair), abs=tolerance)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("level", [0, 100, 255])
@pytest.mark.parametrize("truth", [0, 255])
def test_flat_maps_of_empty_and_full_masks_have_scores(kind, level, truth):
    saliency, mask = (np.full((5, 7), value, dtype=np.uint8) for value in (level, truth))
    for score in results(kind(), Pair(saliency, mask)).values():
        assert 0 <= score <= 35 / 34


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_the_smallest_pictures_have_scores(kind, shape):
    random = np.random.default_rng(0)
    for _ in range(20):
        saliency, truth = (random.choice(np.array([0, 90, 255], dtype=np.uint8), shape) for _ in range(2))
        assert all(np.isfinite(score) for score in results(kind(), Pair(saliency, truth)).values())


@pytest.mark.parametrize("kind", [MAE, Overlap, SMeasure, WeightedF, BoundaryIoU])
def test_the_score_of_a_set_is_the_mean_of_its_pairs_scores(kind):
    pairs = [random_pair(seed) for seed in range(6)]
    steps = [kind().step(pair) for pair in pairs]
    expected = {name: np.mean([step[name] for step in steps]) for name in steps[0]}
    assert results(kind(), *pairs) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [PictureFMeasure, EMeasure])
def test_curves_of_a_set_are_the_means_of_its_pairs_curves(kind):
    pairs = [random_pair(seed) for seed in range(6)]
    singles = []
    for pair in pairs:
        single = kind()
        single.step(pair)
        singles.append(single.curve())
    together = kind()
    scores = results(together, *pairs)
    np.testing.assert_allclose(together.curve(), np.mean(singles, axis=0))
    assert scores[f"max{kind.name}"] == pytest.approx(together.curve().max())


@pytest.mark.parametrize("kind", ALL)
def test_a_measure_grows_no_larger_with_more_pairs(kind):
    measure, pairs = kind(), [random_pair(seed) for seed in range(5)]
    results(measure, *pairs)
    before = len(pickle.dumps(measure))
    results(measure, *pairs * 8)
    assert len(pickle.dumps(measure)) <= before + 32


@pytest.mark.parametrize("kind", ALL)
def test_a_pair_is_left_as_it_was(kind):
    pair = random_pair(1)
    saliency, truth = pair.saliency.copy(), pair.truth.copy()
    kind().step(pair)
    assert (pair.saliency == saliency).all()
    assert (pair.truth == truth).all()


@pytest.mark.parametrize("kind", ALL)
def test_the_order_in_memory_is_of_no_account(kind):
    pair = random_pair(5)
    turned = Pair(*(np.asfortranarray(part) for part in (pair.saliency, pair.truth)))
    assert results(kind(), turned) == pytest.approx(results(kind(), pair), abs=1e-12)
