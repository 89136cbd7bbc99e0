import numpy as np
import pytest

from u2net.evaluation.metrics import Pair


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
