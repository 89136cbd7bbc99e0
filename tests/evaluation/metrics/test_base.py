import pickle

import numpy as np
import pytest

from u2net.evaluation.metrics import (
    MAE,
    MATTING,
    SAD,
    SALIENCY,
    BoundaryIoU,
    ClassIoU,
    EMeasure,
    FMeasure,
    Overlap,
    Pair,
    PictureFMeasure,
    SMeasure,
    WeightedF,
)

from .pairs import random_pair, results


def _pairs() -> list[Pair]:
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (7, 2, 12, 17), np.uint8)
    truths = [np.where(truth > 100, truth, 0).astype(np.uint8) for truth in levels[:, 1]]
    truths[2][:], truths[3][:] = 0, 255
    return [Pair(saliency, truth) for saliency, truth in zip(levels[:, 0], truths, strict=True)]


@pytest.mark.parametrize("kind", SALIENCY + MATTING, ids=lambda kind: kind.__name__)
def test_parts_that_were_measured_apart_score_as_the_whole(kind):
    whole, parts = kind(), [kind() for _ in range(3)]
    for i, pair in enumerate(_pairs()):
        whole.step(pair)
        parts[i % 2].step(pair)  # the third part stays empty
    merged = kind()
    for part in parts:
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert merged.results() == pytest.approx(whole.results(), rel=1e-12)


def test_parts_of_several_classes_score_as_the_whole():
    random = np.random.default_rng(0)
    whole, *parts = (ClassIoU(("a", "b", "c"), ignore_index=9) for _ in range(3))
    for i in range(6):
        labels, truth = random.integers(0, 3, (2, 8, 9), np.uint8)
        whole.step(Pair(labels, truth))
        parts[i % 2].step(Pair(labels, truth))
    parts[0].merge(parts[1])
    assert parts[0].results() == whole.results()
    assert (parts[0].classes, parts[0].ignore_index) == (("a", "b", "c"), 9)


def test_what_is_merged_stays_as_it_was():
    first, second = FMeasure(), FMeasure()
    for measure in (first, second):
        measure.step(_pairs()[0])
    before = second.results()
    first.merge(second)
    first.step(_pairs()[1])
    assert second.results() == before


def test_a_perfect_score_of_0_is_kept():
    truth = np.full((2, 2), 255, np.uint8)
    parts = [SAD(), SAD()]
    for part in parts:
        part.step(Pair(truth, truth))
    parts[0].merge(parts[1])
    assert parts[0].results() == {"SAD": 0}


def test_measures_of_another_kind_are_refused():
    with pytest.raises(TypeError, match="FMeasure cannot be merged into MAE"):
        MAE().merge(FMeasure())


# ---- What holds of all measures ----


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", SALIENCY)
def test_a_map_equal_to_its_mask_is_perfect(kind, seed):
    truth = random_pair(seed).truth
    scores = results(kind(), Pair(truth, truth))
    best = max(value for name, value in scores.items() if not name.startswith("mean"))
    if kind is MAE:
        assert best == 0
    else:
        assert best == pytest.approx(truth.size / (truth.size - 1) if kind is EMeasure else 1)


@pytest.mark.parametrize("kind", SALIENCY)
def test_upside_down_or_on_its_side_a_pair_scores_the_same(kind):
    pair = random_pair(3)
    turned = [Pair(turn(pair.saliency), turn(pair.truth)) for turn in (np.flipud, np.fliplr, np.transpose)]
    if kind is SMeasure:  # cuts behind the centre of mass: its own pixels lie above and left
        turned = turned[2:]
    tolerance = 1e-2 if kind is WeightedF else 1e-12  # of equally near pixels it takes the leftmost
    for other in turned:
        assert results(kind(), other) == pytest.approx(results(kind(), pair), abs=tolerance)


@pytest.mark.parametrize("kind", SALIENCY)
@pytest.mark.parametrize("level", [0, 100, 255])
@pytest.mark.parametrize("truth", [0, 255])
def test_flat_maps_of_empty_and_full_masks_have_scores(kind, level, truth):
    saliency, mask = (np.full((5, 7), value, dtype=np.uint8) for value in (level, truth))
    for score in results(kind(), Pair(saliency, mask)).values():
        assert 0 <= score <= 35 / 34


@pytest.mark.parametrize("kind", SALIENCY)
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


@pytest.mark.parametrize("kind", SALIENCY)
def test_a_measure_grows_no_larger_with_more_pairs(kind):
    measure, pairs = kind(), [random_pair(seed) for seed in range(5)]
    results(measure, *pairs)
    before = len(pickle.dumps(measure))
    results(measure, *pairs * 8)
    assert len(pickle.dumps(measure)) <= before + 32


@pytest.mark.parametrize("kind", SALIENCY)
def test_a_pair_is_left_as_it_was(kind):
    pair = random_pair(1)
    saliency, truth = pair.saliency.copy(), pair.truth.copy()
    kind().step(pair)
    assert (pair.saliency == saliency).all()
    assert (pair.truth == truth).all()


@pytest.mark.parametrize("kind", SALIENCY)
def test_the_order_in_memory_is_of_no_account(kind):
    pair = random_pair(5)
    turned = Pair(*(np.asfortranarray(part) for part in (pair.saliency, pair.truth)))
    assert results(kind(), turned) == pytest.approx(results(kind(), pair), abs=1e-12)


# ---- Pairs ----


def test_maps_and_truths_of_different_sizes_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match="the map has 4×3 pixels, the ground truth 5×3"):
        Pair(np.zeros((3, 4), dtype=np.uint8), np.zeros((3, 5), dtype=np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.bool_])
def test_anything_but_uint8_is_refused(dtype):
    fine, other = np.zeros((2, 2), dtype=np.uint8), np.zeros((2, 2), dtype=dtype)
    for pair in ((fine, other), (other, fine)):
        with pytest.raises(ValueError, match="maps are uint8"):
            Pair(*pair)


@pytest.mark.parametrize("shape", [(2, 2, 3), (4,), (0, 3), (3, 0)])
def test_colours_lines_and_empty_arrays_are_refused(shape):
    with pytest.raises(ValueError, match="two dimensions and at least one pixel"):
        Pair(np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8))


def test_grey_truth_is_subject_above_the_threshold():
    truth = np.array([[0, 25, 26, 128, 129, 255]], dtype=np.uint8)
    assert Pair(truth, truth).mask.tolist() == [[False, False, False, False, True, True]]
    assert Pair(truth, truth, threshold=25).mask.tolist() == [[False, False, True, True, True, True]]


def test_counts_tell_pixels_by_mask_and_level():
    pair = Pair(np.array([[7, 7], [9, 7]], dtype=np.uint8), np.array([[0, 255], [255, 0]], dtype=np.uint8))
    expected = np.zeros((2, 256), dtype=int)
    expected[0, 7], expected[1, 7], expected[1, 9] = 2, 1, 1
    assert (pair.counts == expected).all()


@pytest.mark.parametrize("shape", [(3, 5), (1, 300), (300, 2)])
def test_pixels_of_the_mask_are_counted_by_row_and_column(shape):
    truth = np.full(shape, 255, dtype=np.uint8)
    truth[0, 0] = 0
    pair = Pair(truth, truth)
    assert pair.num_in_rows.tolist() == [shape[1] - 1, *[shape[1]] * (shape[0] - 1)]
    assert pair.num_in_columns.tolist() == [shape[0] - 1, *[shape[0]] * (shape[1] - 1)]


@pytest.mark.parametrize("seed", range(20))
def test_quadrants_meet_behind_the_centre_of_mass(seed):
    random = np.random.default_rng(seed)
    saliency, truth = random.integers(0, 256, (2, *random.integers(1, 9, 2)), dtype=np.uint8)
    pair = Pair(saliency, truth)
    places = np.argwhere(truth > 128)
    row, column = np.round(places.mean(axis=0)).astype(int) if len(places) else np.round(np.array(truth.shape) / 2)
    assert pair.centroid == (row, column)
    counts = np.zeros((2, 2, 2, 256), dtype=int)
    for (y, x), level in np.ndenumerate(saliency):
        counts[int(y > row), int(x > column), int(truth[y, x] > 128), level] += 1
    assert (pair.quadrant_counts == counts).all()
    assert (pair.counts == pair.quadrant_counts.sum(axis=(0, 1))).all()


def test_a_map_is_stretched_to_fill_its_range_unless_it_is_flat():
    truth = np.zeros((1, 3), dtype=np.uint8)
    pair = Pair(np.array([[50, 100, 150]], dtype=np.uint8), truth)
    assert pair.stretched[[50, 100, 150]].tolist() == pytest.approx([0, 0.5, 1])
    flat = Pair(np.full((1, 3), 51, dtype=np.uint8), truth)
    assert flat.stretched[51] == pytest.approx(0.2)
