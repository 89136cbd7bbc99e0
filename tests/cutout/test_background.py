import numpy as np
import pytest
from PIL import Image, ImageFilter

from u2net.cutout.background import blur, is_opaque, put_over, read_background
from u2net.cutout.compose import with_alpha
from u2net.images.picture import Picture, to_8_bits

BLACK, WHITE = (0, 0, 0, 255), (255, 255, 255, 255)


def _blurred(cutout: Image.Image, rgb: Image.Image, sigma: float) -> Image.Image:
    return Image.alpha_composite(blur(cutout, Picture(rgb, None, None), sigma), cutout)


def _over(background, cutout: Image.Image) -> Image.Image:
    return put_over(background, cutout, Picture(cutout.convert("RGB"), None, None))


def test_over_an_opaque_colour_the_sum_is_that_of_porter_and_duff():
    cutout = Image.new("RGBA", (1, 1), (200, 100, 0, 128))
    alpha = 128 / 255
    expected = np.array([200, 100, 0]) * alpha + np.array([0, 50, 255]) * (1 - alpha)
    *color, opacity = _over(((0, 50, 255, 255),), cutout).getpixel((0, 0))
    assert opacity == 255
    np.testing.assert_allclose(color, expected, atol=1)


def _square(size: tuple[int, int], box: tuple[int, int, int, int], color: tuple[int, int, int, int]) -> Image.Image:
    cutout = Image.new("RGBA", size)
    cutout.paste(color, box)
    return cutout


def test_a_gradient_goes_from_the_one_colour_to_the_other():
    behind = np.asarray(_over(((200, 0, 0, 255), (0, 100, 0, 255)), Image.new("RGBA", (3, 101))))
    assert np.abs(behind[0, :, :3].astype(int) - (200, 0, 0)).max() <= 3
    assert np.abs(behind[-1, :, :3].astype(int) - (0, 100, 0)).max() <= 3
    assert np.abs(behind[50, :, :3].astype(int) - (100, 50, 0)).max() <= 3
    assert (behind[:, :, 3] == 255).all()


def test_a_gradient_in_16_bits_has_all_their_levels():
    cutout = np.zeros((1001, 2, 4), np.uint16)
    behind = put_over(((200, 0, 0, 255), (201, 100, 0, 128)), cutout, Picture(Image.new("RGB", (2, 1001)), None, None))
    down = ((np.arange(1001) + 0.5) / 1001)[:, None, None]
    expected = 257 * (np.array([200, 0, 0, 255]) + down * np.array([1, 100, 0, -127]))
    assert np.abs(behind - expected).max() <= 0.6


def test_a_gradient_lies_behind_the_cut_out():
    cutout = _square((4, 4), (0, 0, 2, 4), (9, 8, 7, 255))
    assert _over(((200, 0, 0, 255), (0, 100, 0, 255)), cutout).getpixel((1, 1)) == (9, 8, 7, 255)


def test_a_picture_behind_covers_by_its_middle():
    behind = Image.new("RGB", (60, 20), "red")
    behind.paste("blue", (20, 0, 40, 20))
    pixels = np.asarray(_over(Picture(behind, None, None), Image.new("RGBA", (10, 10))))
    assert (pixels[:, 3:-3] == (0, 0, 255, 255)).all()
    assert (pixels[:, :, 0] < 100).all()


def test_a_picture_lies_behind_the_cut_out():
    cutout = _square((4, 4), (0, 0, 2, 4), (9, 8, 7, 255))
    assert _over(Picture(Image.new("RGB", (4, 4), "red"), None, None), cutout).getpixel((0, 0)) == (9, 8, 7, 255)


def test_the_blurred_background_has_none_of_the_subjects_colours():
    rgb, alpha = Image.new("RGB", (80, 80), (40, 90, 40)), Image.new("L", (80, 80))
    rgb.paste((250, 0, 250), (30, 30, 50, 50))
    alpha.paste(255, (30, 30, 50, 50))
    pixels = np.asarray(_blurred(with_alpha(rgb, np.asarray(alpha)), rgb, 6))
    outside = np.asarray(alpha) == 0
    assert np.abs(pixels[outside].astype(int) - (40, 90, 40, 255)).max() <= 8
    assert (pixels[~outside] == (250, 0, 250, 255)).all()


def test_the_background_is_blurred():
    rgb = Image.new("RGB", (80, 20), "black")
    rgb.paste("white", (40, 0, 80, 20))
    pixels = np.asarray(_blurred(Image.new("RGBA", (80, 20)), rgb, 8))[10, :, 0].astype(int)
    assert 20 < pixels[32] < pixels[40] < pixels[48] < 235
    assert np.abs(np.diff(pixels)).max() < 25


def test_a_large_blur_is_what_it_would_be_at_full_size():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((403, 301), Image.Resampling.BICUBIC)
    cutout = image.convert("RGBA")
    cutout.putalpha(0)
    expected = np.asarray(image.filter(ImageFilter.GaussianBlur(20))).astype(int)
    difference = np.abs(np.asarray(_blurred(cutout, image, 20))[:, :, :3] - expected)
    assert difference.mean() < 1.5
    assert difference.max() <= 8


def test_a_blur_in_16_bits_is_smooth_where_8_bits_have_steps():
    ramp = np.broadcast_to(np.linspace(30_000, 31_000, 400)[None, :, None], (90, 400, 3)).astype(np.uint16)
    picture = Picture(Image.fromarray(to_8_bits(ramp)), None, None, rgb_16=ramp)
    behind = put_over("blur", np.zeros((90, 400, 4), np.uint16), picture)
    np.testing.assert_allclose(behind[:, 40:-40, :3], ramp[:, 40:-40], atol=3)
    assert (behind[..., 3] == 65_535).all()


def test_names_of_colours_styles_and_files_are_told_apart(tmp_path, photograph):
    assert read_background("white") == (WHITE,)
    assert read_background("#00000080") == ((0, 0, 0, 128),)
    assert read_background("black..white") == (BLACK, WHITE)
    assert read_background("blur") == "blur"
    assert read_background(str(photograph)).size == (600, 400)


@pytest.mark.parametrize("text", ["", "reddish", "white..", "white..black..red", "x" * 5000])
def test_a_background_that_is_none_of_these_is_refused(text):
    with pytest.raises(ValueError, match="is no background"):
        read_background(text)


def test_only_colours_may_be_seen_through():
    picture = Picture(Image.new("RGB", (2, 2)), None, None)
    opaque = [(BLACK,), (BLACK, WHITE), "blur", picture]
    assert all(map(is_opaque, opaque))
    assert not any(map(is_opaque, [((0, 0, 0, 254),), (BLACK, (9, 9, 9, 0))]))
