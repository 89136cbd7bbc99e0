import numpy as np
import pytest

from u2net.metrics.distance import REACH, nearest


def random_mask(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 40, 2)) < random.choice([0.005, 0.02, 0.1, 0.4, 0.9])
    mask.flat[random.integers(mask.size)] = True
    return mask


def search(mask: np.ndarray, place: int) -> tuple[float, int]:
    """Of all pixels of the mask the nearest, among equals the leftmost, among those the upper: by looking at each."""
    y, x = divmod(place, mask.shape[1])
    square, column, row = min(((y - i) ** 2 + (x - j) ** 2, j, i) for i, j in np.argwhere(mask).tolist())
    return square**0.5, row * mask.shape[1] + column


@pytest.mark.parametrize("seed", range(30))
def test_nearest_is_what_a_search_of_all_pixels_finds(seed):
    mask = random_mask(seed)
    wanted = np.random.default_rng(seed).integers(0, mask.size, 40)
    found = nearest(mask, wanted)
    expected = [search(mask, place) for place in wanted.tolist()]
    np.testing.assert_allclose(found.distance, [distance for distance, _ in expected])
    assert found.place.tolist() == [place for _, place in expected]


def test_nearest_is_what_scipy_finds():
    ndimage = pytest.importorskip("scipy.ndimage")
    for seed in range(100, 200):
        mask = random_mask(seed)
        wanted = np.flatnonzero(~mask)
        distance, (row, column) = ndimage.distance_transform_edt(~mask, return_indices=True)
        found = nearest(mask, wanted)
        np.testing.assert_allclose(found.distance, distance.ravel()[wanted])
        assert found.place.tolist() == (row * mask.shape[1] + column).ravel()[wanted].tolist()


def test_distances_are_exact_as_far_as_promised_and_beyond_it_not_less():
    mask = np.zeros((150, 400), dtype=bool)
    mask[40, 200] = mask[100, 10] = True
    y, x = np.mgrid[:150, :400]
    exact = np.minimum(np.hypot(y - 40, x - 200), np.hypot(y - 100, x - 10)).ravel()
    found = nearest(mask, np.arange(mask.size)).distance
    np.testing.assert_allclose(found[exact <= REACH], exact[exact <= REACH])
    assert found[exact > REACH].min() > REACH


def test_nothing_wanted_is_nothing_found():
    assert len(nearest(np.ones((2, 2), dtype=bool), np.array([], dtype=np.intp)).place) == 0
