from pathlib import Path

import numpy as np
import pytest

from u2net.matte import smooth_mask

GOLDEN = Path(__file__).parent / "golden" / "rembg_post_process.npz"


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
