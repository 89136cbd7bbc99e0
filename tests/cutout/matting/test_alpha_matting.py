import numpy as np
import pytest
from pictures import ROOT

from u2net.cutout.matting import alpha_matting as matte
from u2net.cutout.matting.alpha_matting import alpha_matte, estimate_alpha, smooth_mask, trimap

GOLDEN = ROOT / "tests/golden" / "rembg_post_process.npz"
PYMATTING = ROOT / "tests/golden" / "pymatting.npz"


def test_a_soft_mask_becomes_what_rembg_makes_of_it():
    with np.load(GOLDEN) as file:
        mask, bits = file["mask"], file["hard"]
    expected = np.unpackbits(bits).reshape(mask.shape) * 255
    assert np.count_nonzero(smooth_mask(mask) != expected) == 0


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (126, 0), (127, 255), (128, 255), (255, 255)])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 5), (40, 30)])
def test_a_constant_mask_stays_constant_on_its_side_of_127(level, expected, shape):
    smoothed = smooth_mask(np.full(shape, level, dtype=np.uint8))
    assert smoothed.shape == shape
    assert smoothed.dtype == np.uint8
    assert (smoothed == expected).all()


@pytest.mark.parametrize("size", [1, 2])
def test_a_speck_vanishes(size):
    mask = np.zeros((21, 21), dtype=np.uint8)
    mask[10 : 10 + size, 10 : 10 + size] = 255
    assert not smooth_mask(mask).any()


def test_a_hair_vanishes_but_not_the_body_it_grows_from():
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[:, :30] = 255
    mask[20, :] = 255
    smoothed = smooth_mask(mask)
    assert (smoothed[:, :30] == 255).all()
    assert not smoothed[:, 31:].any()


def test_a_straight_edge_stays_where_it_is():
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[:, 15:] = 255
    assert (smooth_mask(mask) == mask).all()
    assert (smooth_mask(mask.T) == mask.T).all()


def test_a_corner_is_rounded():
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[:15, :15] = 255
    smoothed = smooth_mask(mask)
    assert smoothed[14, 14] == 0
    assert smoothed[14, 5] == smoothed[5, 14] == 255


def test_the_given_mask_is_not_changed():
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    before = mask.copy()
    smooth_mask(mask)
    assert (mask == before).all()


@pytest.mark.parametrize("erode_size", [0, 1, 2, 3, 10, 11, 100])
def test_a_trimap_is_what_rembg_makes_with_scipy(erode_size):
    binary_erosion = pytest.importorskip("scipy.ndimage").binary_erosion
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    mask = np.kron(coarse, np.ones((13, 11), dtype=np.uint8))
    structure = np.ones((erode_size, erode_size)) if erode_size else None
    known = trimap(mask, 140, 100, erode_size)
    assert ((known == 255) == binary_erosion(mask > 140, structure)).all()
    assert ((known == 0) == binary_erosion(mask < 100, structure, border_value=1)).all()
    assert (known[(known != 0) & (known != 255)] == 128).all()


@pytest.mark.parametrize(("level", "expected"), [(9, 0), (10, 128), (240, 128), (241, 255)])
def test_a_mask_at_a_threshold_is_sure_of_nothing(level, expected):
    """rembg compares with > and <."""
    assert trimap(np.full((9, 9), level, dtype=np.uint8), 240, 10, 3)[4, 4] == expected


def test_alpha_is_near_pymattings():
    with np.load(PYMATTING) as file:
        image, known, expected = file["image"], file["trimap"], file["alpha"]
    found = estimate_alpha(image, known)
    differ = np.abs(found.astype(int) - expected)[known == 128] / 255
    assert differ.mean() < 0.01
    assert (found[known != 128] == known[known != 128]).all()


def test_too_many_unknown_pixels_are_solved_at_a_smaller_size(monkeypatch):
    with np.load(PYMATTING) as file:
        image, known, expected = file["image"], file["trimap"], file["alpha"]
    monkeypatch.setattr(matte, "_MOST_UNKNOWN", 1000)
    found = estimate_alpha(image, known)
    differ = np.abs(found.astype(int) - expected)[known == 128] / 255
    assert 0.001 < differ.mean() < 0.05
    assert (found[known != 128] == known[known != 128]).all()


def test_a_large_picture_is_solved_from_small_to_large():
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    image[:, 200:] = 200
    known = np.full((300, 400), 128, dtype=np.uint8)
    known[:, :60], known[:, -60:] = 0, 255
    found = estimate_alpha(image, known)
    assert found[:, :199].max() <= 3
    assert found[:, 201:].min() >= 252


def test_matting_mends_the_mask_between_the_thresholds():
    with np.load(PYMATTING) as file:
        image, known, expected = file["image"], file["trimap"], file["alpha"]
    alpha = alpha_matte(image, known, erode_size=1)
    assert (alpha == estimate_alpha(image, known)).all()
    assert np.abs(alpha.astype(int) - expected).mean() < 0.1 * np.abs(known.astype(int) - expected).mean()


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_mask_that_is_not_sure_of_both_is_given_back(level):
    mask = np.full((20, 30), level, dtype=np.uint8)
    assert (alpha_matte(np.zeros((20, 30, 3), dtype=np.uint8), mask) == mask).all()
