import math

import numpy as np
import pytest

from u2net.errors import InvalidDataset
from u2net.evaluation.metrics import MAE, BoundaryIoU, ClassIoU, Overlap, Pair, RelaxedF
from u2net.images.morphology import boundary, grow_by_disc, grow_by_square, thin_by_square

from .pairs import PAIR, results
from .pairs import TRUTH as SUBJECT

# ---- Regions ----


def test_mae_is_the_share_of_wrong_pixels_of_a_binary_map():
    assert results(MAE(), PAIR) == {"MAE": 4 / 16, "MAE stretched": 4 / 16}


def test_mae_of_a_grey_map_is_given_as_it_is_and_stretched():
    # 51 and 204 are 0.2 and 0.8, stretched 0 and 1: wrong by 0.2 each, or not at all.
    pair = Pair(np.where(SUBJECT > 0, 204, 51).astype(np.uint8), SUBJECT)
    assert results(MAE(), pair) == pytest.approx({"MAE": 0.2, "MAE stretched": 0})


def test_overlap_is_six_of_ten_pixels():
    assert results(Overlap(), PAIR) == {"IoU": 6 / 10, "Dice": 12 / 16}


def test_overlap_cuts_at_128():
    pair = Pair(np.array([[127, 128]], dtype=np.uint8), np.array([[255, 255]], dtype=np.uint8))
    assert results(Overlap(), pair) == {"IoU": 1 / 2, "Dice": 2 / 3}


# ---- Outlines ----


def level(mask) -> np.ndarray:
    return np.where(mask, 255, 0).astype(np.uint8)


def random_pair(seed: int) -> Pair:
    """Noise cut at various heights, smooth in some and rough in others, so that masks may be empty or full."""
    random = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        coarse = random.random(random.integers(2, 6, 2)).repeat(5, 0).repeat(5, 1)[:14, :17]
        noise = np.full((14, 17), coarse.mean())
        noise[: coarse.shape[0], : coarse.shape[1]] = coarse
        masks.append(noise + 0.3 * random.random(noise.shape) > random.choice([0.2, 0.5, 0.8, 1.2]))
    return Pair(level(masks[0]), level(masks[1]))


def outline(mask: np.ndarray) -> list[tuple[int, int]]:
    """Pixels of the mask beside something that is not the mask, the world beyond the border among it."""
    height, width = mask.shape

    def inside(i: int, j: int) -> bool:
        return 0 <= i < height and 0 <= j < width and bool(mask[i, j])

    return [
        (i, j)
        for i in range(height)
        for j in range(width)
        if inside(i, j) and not all(inside(i + a, j + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    ]


def share(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> float:
    if not one:
        return float(not other)
    return sum(any(math.dist(a, b) <= 3 for b in other) for a in one) / len(one)


def slow_relaxed_f(pair: Pair) -> float:
    found, true = outline(pair.saliency > 127.5), outline(pair.mask)
    precision, recall = share(found, true), share(true, found)
    return 1.3 * precision * recall / (0.3 * precision + recall) if precision + recall else 0.0


def rim(mask: np.ndarray, width: int) -> set[tuple[int, int]]:
    """Pixels of the mask within so many steps, also diagonal ones, of something that is not the mask."""
    outside = {
        (i, j)
        for i in range(-width, mask.shape[0] + width)
        for j in range(-width, mask.shape[1] + width)
        if not (0 <= i < mask.shape[0] and 0 <= j < mask.shape[1] and mask[i, j])
    }
    return {
        (i, j) for i, j in np.argwhere(mask).tolist() if any(max(abs(i - a), abs(j - b)) <= width for a, b in outside)
    }


@pytest.mark.parametrize("seed", range(60))
def test_relaxed_f_is_what_its_definition_gives(seed):
    pair = random_pair(seed)
    assert RelaxedF().step(pair)["relaxF"] == pytest.approx(slow_relaxed_f(pair), abs=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_boundary_iou_is_what_its_definition_gives(seed):
    pair = random_pair(seed)
    found, true = (rim(mask, 1) for mask in (pair.saliency >= 128, pair.mask))  # 2 % of 22 pixels are less than 1
    expected = len(found & true) / len(found | true) if found | true else 1.0
    assert BoundaryIoU().step(pair)["BIoU"] == expected


def test_relaxed_f_of_a_set_is_f_of_mean_precision_and_mean_recall():
    pairs = [random_pair(seed) for seed in range(20)]
    measure = RelaxedF()
    for pair in pairs:
        measure.step(pair)
    outlines = [(outline(pair.saliency > 127.5), outline(pair.mask)) for pair in pairs]
    precision = sum(share(found, true) for found, true in outlines) / 20
    recall = sum(share(true, found) for found, true in outlines) / 20
    assert measure.results()["relaxF"] == pytest.approx(1.3 * precision * recall / (0.3 * precision + recall))


def test_an_outline_three_pixels_off_is_found_and_one_four_off_is_not():
    truth = np.zeros((20, 20), dtype=bool)
    truth[5, 5] = True
    for off, expected in ((3, 1.0), (4, 0.0)):
        assert RelaxedF().step(Pair(level(np.roll(truth, off, axis=1)), level(truth)))["relaxF"] == expected


def test_slack_is_euclidean():
    truth = np.zeros((20, 20), dtype=bool)
    truth[5, 5] = True
    assert RelaxedF().step(Pair(level(np.roll(truth, (2, 2), (0, 1))), level(truth)))["relaxF"] == 1  # √8
    assert RelaxedF().step(Pair(level(np.roll(truth, (3, 3), (0, 1))), level(truth)))["relaxF"] == 0  # √18


def test_two_empty_masks_have_the_same_outline_and_one_empty_mask_has_none():
    empty, some = np.zeros((5, 5), dtype=np.uint8), level(np.eye(5))
    for measure in (RelaxedF, BoundaryIoU):
        assert [*measure().step(Pair(empty, empty)).values()] == [1]
        assert [*measure().step(Pair(empty, some)).values()] == [0]
        assert [*measure().step(Pair(some, empty)).values()] == [0]


def test_the_rim_of_a_large_mask_is_two_percent_of_the_diagonal_wide():
    # 300×400: the diagonal is 500, the rim 10 wide. A full mask's rim is what lies within 10 of the border, and one
    # whose left half is missing shares with it the right half's rim but for the new edge.
    truth, half = np.ones((300, 400), dtype=bool), np.ones((300, 400), dtype=bool)
    half[:, :200] = False
    full_rim, half_rim = 300 * 400 - 280 * 380, 300 * 200 - 280 * 180
    shared = half_rim - 280 * 10
    expected = shared / (full_rim + half_rim - shared)
    assert BoundaryIoU().step(Pair(level(half), level(truth)))["BIoU"] == expected


def test_growing_and_thinning_of_a_single_pixel():
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    assert np.count_nonzero(grow_by_square(mask, 2)) == 25
    assert np.count_nonzero(grow_by_disc(mask, 2)) == 13
    assert (thin_by_square(grow_by_square(mask, 2), 2) == mask).all()
    assert np.count_nonzero(boundary(grow_by_square(mask, 2))) == 16


def test_growing_farther_than_the_picture_is_wide_fills_it():
    mask = np.zeros((3, 5), dtype=bool)
    mask[0, 0] = True
    assert grow_by_square(mask, 7).all()


def test_a_rim_of_a_pixel_and_two_thirds_is_two_pixels_wide():
    """2 % of the diagonal of 60 × 60 are 1.7 pixels: squares of 30 and 28 with one middle share the second ring."""
    mask, saliency = np.zeros((2, 60, 60), np.uint8)
    mask[15:45, 15:45] = saliency[16:44, 16:44] = 255
    shared, of_mask, of_map = 28**2 - 26**2, 30**2 - 26**2, 28**2 - 24**2
    assert BoundaryIoU().score(Pair(saliency, mask)) == {"BIoU": shared / (of_mask + of_map - shared)}


# ---- Several classes ----


CLASSES = ("sky", "cat", "dog", "hat")
TRUTH = np.array([[0, 0, 1, 1, 255], [0, 1, 1, 2, 255]], np.uint8)
LABELS = np.array([[0, 0, 1, 0, 3], [0, 1, 2, 2, 1]], np.uint8)


def _random(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 4, (9, 7), np.uint8), random.choice([0, 1, 2, 3, 255], (9, 7)).astype(np.uint8)


def test_scores_by_hand():
    # sky: 3 right of 3 true and 4 found; cat: 2 right of 4 true and 2 found; dog: 1 of 1 and 2; no hat anywhere.
    scores = ClassIoU(CLASSES).step(Pair(LABELS, TRUTH))
    assert scores == pytest.approx(
        {"mIoU": (3 / 4 + 2 / 4 + 1 / 2) / 3, "accuracy": 6 / 8, "IoU sky": 3 / 4, "IoU cat": 2 / 4, "IoU dog": 1 / 2}
    )


def test_a_class_that_is_found_but_nowhere_true_counts_as_missed():
    scores = ClassIoU(CLASSES).step(Pair(np.array([[0, 3]], np.uint8), np.zeros((1, 2), np.uint8)))
    assert scores == {"mIoU": 0.25, "accuracy": 0.5, "IoU sky": 0.5, "IoU hat": 0.0}


def test_pixels_are_counted_over_the_whole_set():
    measure = ClassIoU(CLASSES)
    pairs = [_random(seed) for seed in range(5)]
    for labels, truth in pairs:
        measure.step(Pair(labels, truth))
    labels, truth = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    expected = []
    for index in range(4):
        true, found = truth == index, (labels == index) & (truth != 255)
        expected.append((true & found).sum() / (true | found).sum())
    results = measure.results()
    assert [results[f"IoU {name}"] for name in CLASSES] == pytest.approx(expected)
    assert results["mIoU"] == pytest.approx(np.mean(expected))
    assert results["accuracy"] == pytest.approx((labels == truth)[truth != 255].mean())


def test_any_index_can_be_the_ignored_one():
    scores = ClassIoU(CLASSES, ignore_index=0).step(Pair(LABELS, np.where(TRUTH == 255, 0, TRUTH).astype(np.uint8)))
    assert scores["accuracy"] == 3 / 5


def test_nothing_to_measure_is_nothing_wrong():
    assert ClassIoU(CLASSES).step(Pair(LABELS, np.full_like(TRUTH, 255))) == {"mIoU": 1.0, "accuracy": 1.0}


def test_an_unknown_index_is_refused_and_nothing_counted():
    measure = ClassIoU(CLASSES)
    with pytest.raises(InvalidDataset, match="index 7 in its mask, classes are 0 to 3"):
        measure.step(Pair(LABELS, np.full_like(TRUTH, 7)))
    assert measure.results() == {"mIoU": 1.0, "accuracy": 1.0}
