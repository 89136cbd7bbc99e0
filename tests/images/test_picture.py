import numpy as np
import pytest
from pictures import photo
from PIL import Image

from u2net.images.load import load_image
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


@pytest.mark.parametrize(
    ("colors", "ground"),
    [
        ([(255, 255, 255)], (128, 128, 128)),
        ([(240, 250, 235)], (128, 128, 128)),
        ([(0, 0, 0)], (255, 255, 255)),
        ([(128, 128, 128)], (255, 255, 255)),
        ([(255, 255, 255), (0, 0, 0)], (128, 128, 128)),
        ([(255, 255, 255), (128, 128, 128)], (0, 0, 0)),
        ([(255, 255, 0)], (255, 255, 255)),
    ],
)
def test_what_shows_stands_out_from_the_ground_under_what_does_not(colors, ground):
    pixels = np.zeros((40, 60, 4), np.uint8)  # what is hidden is black
    for turn, color in enumerate(colors):
        pixels[10:30, 10 + turn :: len(colors) + 1] = (*color, 255)
    assert load_image(pixels).view().getpixel((0, 0)) == ground
    assert load_image(pixels).view("white").getpixel((0, 0)) == (255, 255, 255)


def test_a_few_white_pixels_leave_the_ground_white():
    pixels = np.zeros((40, 60, 4), np.uint8)
    pixels[10:30, 10:50] = (200, 30, 30, 255)
    pixels[15:18, 15:25] = 255
    assert load_image(pixels).view().getpixel((0, 0)) == (255, 255, 255)


def test_nothing_to_see_is_white():
    assert load_image(np.zeros((4, 4, 4), np.uint8)).view().getextrema() == ((255, 255),) * 3
