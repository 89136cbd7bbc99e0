import numpy as np
import pytest
from pictures import photo
from PIL import Image

from u2net.images.picture import Picture, to_8_bits, to_16_bits

OWN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48), np.uint8))


def test_the_nearest_of_256_levels_is_taken():
    levels = np.arange(65_536, dtype=np.uint16).reshape(512, 128)
    np.testing.assert_array_equal(to_8_bits(levels), [[round(int(v) / 257) for v in row] for row in levels])


def test_8_bits_survive_16():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (int(to_16_bits(levels).min()), int(to_16_bits(levels).max())) == (0, 65_535)
    np.testing.assert_array_equal(to_8_bits(to_16_bits(levels)), levels)


def test_a_picture_may_be_had_in_16_bits_and_in_8_again():
    picture = Picture(photo(), OWN, None)
    fine = picture.in_bits(16)
    np.testing.assert_array_equal(fine.rgb_16, np.asarray(photo()).astype(np.uint16) * 257)
    np.testing.assert_array_equal(fine.alpha_16, np.asarray(OWN).astype(np.uint16) * 257)
    assert fine.in_bits(16) is fine
    assert fine.in_bits(8) == picture


@pytest.mark.parametrize("box", [(2, 1, 7, 5), (-3, -2, 50, 30), (40, 20, 60, 40)])
def test_a_crop_repeats_the_border_beyond_the_picture_and_shows_nothing_there(box):
    """In both depths alike."""
    fine = Picture(photo(), OWN, None).in_bits(16).crop(box)
    wide = np.pad(np.asarray(photo()), ((20, 20), (20, 20), (0, 0)), mode="edge")
    own = np.pad(np.asarray(OWN), 20)
    part = np.s_[box[1] + 20 : box[3] + 20, box[0] + 20 : box[2] + 20]
    np.testing.assert_array_equal(np.asarray(fine.rgb), wide[part])
    np.testing.assert_array_equal(np.asarray(fine.alpha), own[part])
    np.testing.assert_array_equal(fine.rgb_16, to_16_bits(wide[part]))
    np.testing.assert_array_equal(fine.alpha_16, to_16_bits(own[part]))
