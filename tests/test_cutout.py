import numpy as np
import pytest
from PIL import Image

from u2net.cutout import cut_out, on_color


def _soft_disc(size: int = 64) -> Image.Image:
    y, x = np.mgrid[:size, :size] - size / 2
    return Image.fromarray((255 * np.clip(size / 4 - np.hypot(x, y), 0, 1)).astype(np.uint8))


def test_colours_are_straight():
    """rembg's default makes 100 of this 200 (its naive cut-out multiplies by alpha and stores it as straight)."""
    cutout = cut_out(Image.new("RGB", (1, 1), (200, 200, 200)), Image.new("L", (1, 1), 128))
    assert cutout.getpixel((0, 0)) == (200, 200, 200, 128)


def test_the_removed_background_is_gone_from_the_file():
    picture = Image.new("RGB", (64, 64), "red")
    pixels = np.asarray(cut_out(picture, _soft_disc()))
    assert (pixels[:8, :8] == 0).all()


@pytest.mark.parametrize("shape", [(64, 64), (61, 47), (8, 8), (7, 9), (1, 33), (1, 1)])
def test_colours_survive_wherever_anything_shows_within_eight_pixels(shape):
    rng = np.random.default_rng(0)
    alpha = (rng.random(shape) < 0.01).astype(np.uint8) * rng.integers(1, 256, shape, dtype=np.uint8)
    pixels = np.asarray(cut_out(Image.new("RGB", shape[::-1], "white"), Image.fromarray(alpha)))
    for y, x in np.argwhere(alpha):
        assert (pixels[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9, :3] == 255).all()


def test_scaling_straight_colours_makes_no_dark_rim():
    """As programs do that ignore alpha while they scale."""
    cutout = cut_out(Image.new("RGB", (64, 64), "white"), _soft_disc().point(lambda v: 255 if v > 127 else 0))
    scaled = np.asarray(Image.merge("RGBA", [c.resize((160, 160), Image.Resampling.BICUBIC) for c in cutout.split()]))
    assert scaled[scaled[..., 3] > 0, :3].min() == 255


def test_colours_can_be_kept_under_transparent_pixels():
    picture = Image.new("RGB", (64, 64), "red")
    pixels = np.asarray(cut_out(picture, Image.new("L", (64, 64), 0), keep_hidden=True))
    assert (pixels == (255, 0, 0, 0)).all()


def test_the_picture_given_is_not_changed():
    picture = Image.new("RGB", (64, 64), "red")
    cut_out(picture, _soft_disc())
    assert picture.mode == "RGB"
    assert (np.asarray(picture) == (255, 0, 0)).all()


def test_over_an_opaque_colour_the_sum_is_that_of_porter_and_duff():
    cutout = Image.new("RGBA", (1, 1), (200, 100, 0, 128))
    alpha = 128 / 255
    expected = np.array([200, 100, 0]) * alpha + np.array([0, 50, 255]) * (1 - alpha)
    *color, opacity = on_color(cutout, (0, 50, 255, 255)).getpixel((0, 0))
    assert opacity == 255
    np.testing.assert_allclose(color, expected, atol=1)
