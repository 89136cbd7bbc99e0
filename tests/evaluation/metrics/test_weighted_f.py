import numpy as np
import pytest

from u2net.evaluation.metrics.weighted_f import FARTHEST, REACH, RIM, combine, end_to_end, nearest, squared_distances


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
    near = nearest(mask)
    assert dict(zip(near.pixel.tolist(), near.place.tolist(), strict=True)) == expected


def test_distances_and_nearest_are_what_scipy_finds():
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(100, 200):
        mask = random_mask(seed)
        distance, (row, column) = ndimage.distance_transform_edt(~mask, return_indices=True)
        np.testing.assert_allclose(np.sqrt(squared_distances(mask, np.arange(mask.size))), distance.ravel())
        near = nearest(mask)
        assert near.place.tolist() == (row * mask.shape[1] + column).ravel()[near.pixel].tolist()


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
    assert len(nearest(np.ones((2, 2), dtype=bool)).place) == 0


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
