import numpy as np
import pytest

from u2net.errors import InvalidDataset
from u2net.evaluation.metrics import MAE, ClassIoU, Overlap, Pair

from .pairs import PAIR, results
from .pairs import TRUTH as SUBJECT

CLASSES = ("sky", "cat", "dog", "hat")
TRUTH = np.array([[0, 0, 1, 1, 255], [0, 1, 1, 2, 255]], np.uint8)
LABELS = np.array([[0, 0, 1, 0, 3], [0, 1, 2, 2, 1]], np.uint8)


def _random(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 4, (9, 7), np.uint8), random.choice([0, 1, 2, 3, 255], (9, 7)).astype(np.uint8)


def test_scores_by_hand():
    # sky: 3 right of 3 true and 4 found; cat: 2 right of 4 true and 2 found; dog: 1 of 1 and 2; no hat anywhere.
    scores = ClassIoU(CLASSES).step(LABELS, TRUTH)
    assert scores == pytest.approx(
        {"mIoU": (3 / 4 + 2 / 4 + 1 / 2) / 3, "accuracy": 6 / 8, "IoU sky": 3 / 4, "IoU cat": 2 / 4, "IoU dog": 1 / 2}
    )


def test_a_class_that_is_found_but_nowhere_true_counts_as_missed():
    scores = ClassIoU(CLASSES).step(np.array([[0, 3]], np.uint8), np.zeros((1, 2), np.uint8))
    assert scores == {"mIoU": 0.25, "accuracy": 0.5, "IoU sky": 0.5, "IoU hat": 0.0}


def test_pixels_are_counted_over_the_whole_set():
    measure = ClassIoU(CLASSES)
    pairs = [_random(seed) for seed in range(5)]
    for labels, truth in pairs:
        measure.step(labels, truth)
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
    scores = ClassIoU(CLASSES, ignore_index=0).step(LABELS, np.where(TRUTH == 255, 0, TRUTH).astype(np.uint8))
    assert scores["accuracy"] == 3 / 5


def test_nothing_to_measure_is_nothing_wrong():
    assert ClassIoU(CLASSES).step(LABELS, np.full_like(TRUTH, 255)) == {"mIoU": 1.0, "accuracy": 1.0}


def test_an_unknown_index_is_refused_and_nothing_counted():
    measure = ClassIoU(CLASSES)
    with pytest.raises(InvalidDataset, match="index 7 in its mask, classes are 0 to 3"):
        measure.step(LABELS, np.full_like(TRUTH, 7))
    assert measure.results() == {"mIoU": 1.0, "accuracy": 1.0}


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
