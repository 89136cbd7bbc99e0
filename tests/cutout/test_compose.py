import numpy as np
import pytest
from PIL import Image, ImageFilter

from u2net.cutout.compose import (
    crop_to_subject,
    cut_out,
    cut_to,
    invert,
    keep_largest,
    on_blur,
    on_color,
    on_gradient,
    on_picture,
    with_shadow,
)


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


def _square(size: tuple[int, int], box: tuple[int, int, int, int], color: tuple[int, int, int, int]) -> Image.Image:
    cutout = Image.new("RGBA", size)
    cutout.paste(color, box)
    return cutout


def test_a_gradient_goes_from_the_one_colour_to_the_other():
    behind = np.asarray(on_gradient(Image.new("RGBA", (3, 101)), (200, 0, 0, 255), (0, 100, 0, 255)))
    assert np.abs(behind[0, :, :3].astype(int) - (200, 0, 0)).max() <= 3
    assert np.abs(behind[-1, :, :3].astype(int) - (0, 100, 0)).max() <= 3
    assert np.abs(behind[50, :, :3].astype(int) - (100, 50, 0)).max() <= 3
    assert (behind[:, :, 3] == 255).all()


def test_a_gradient_lies_behind_the_cut_out():
    cutout = _square((4, 4), (0, 0, 2, 4), (9, 8, 7, 255))
    assert on_gradient(cutout, (200, 0, 0, 255), (0, 100, 0, 255)).getpixel((1, 1)) == (9, 8, 7, 255)


def test_a_picture_behind_covers_by_its_middle():
    behind = Image.new("RGB", (60, 20), "red")
    behind.paste("blue", (20, 0, 40, 20))
    pixels = np.asarray(on_picture(Image.new("RGBA", (10, 10)), behind))
    assert (pixels[:, 3:-3] == (0, 0, 255, 255)).all()
    assert (pixels[:, :, 0] < 100).all()


def test_a_picture_lies_behind_the_cut_out():
    cutout = _square((4, 4), (0, 0, 2, 4), (9, 8, 7, 255))
    assert on_picture(cutout, Image.new("RGB", (4, 4), "red")).getpixel((0, 0)) == (9, 8, 7, 255)


def test_the_blurred_background_has_none_of_the_subjects_colours():
    rgb, alpha = Image.new("RGB", (80, 80), (40, 90, 40)), Image.new("L", (80, 80))
    rgb.paste((250, 0, 250), (30, 30, 50, 50))
    alpha.paste(255, (30, 30, 50, 50))
    pixels = np.asarray(on_blur(cut_out(rgb, alpha), rgb, 6))
    outside = np.asarray(alpha) == 0
    assert np.abs(pixels[outside].astype(int) - (40, 90, 40, 255)).max() <= 8
    assert (pixels[~outside] == (250, 0, 250, 255)).all()


def test_the_background_is_blurred():
    rgb = Image.new("RGB", (80, 20), "black")
    rgb.paste("white", (40, 0, 80, 20))
    pixels = np.asarray(on_blur(Image.new("RGBA", (80, 20)), rgb, 8))[10, :, 0].astype(int)
    assert 20 < pixels[32] < pixels[40] < pixels[48] < 235
    assert np.abs(np.diff(pixels)).max() < 25


def test_a_shadow_lies_at_the_foot_and_under_the_subject():
    cutout = _square((100, 100), (30, 20, 70, 60), (9, 8, 7, 255))
    pixels = np.asarray(with_shadow(cutout))
    assert (pixels[20:60, 30:70] == (9, 8, 7, 255)).all()
    assert 0 < pixels[61, 50, 3] < 255
    assert (pixels[61, 50, :3] == 0).all()
    assert not pixels[:30, :20].any()


def test_a_shadow_is_as_strong_as_asked():
    cutout = _square((100, 100), (30, 20, 70, 60), (9, 8, 7, 255))
    strong, weak = (with_shadow(cutout, opacity).getpixel((50, 61))[3] for opacity in (0.8, 0.2))
    assert strong == pytest.approx(4 * weak, abs=3)


@pytest.mark.parametrize("change", [with_shadow, crop_to_subject])
def test_a_cut_out_of_nothing_stays(change):
    empty = Image.new("RGBA", (7, 5))
    assert change(empty).size == (7, 5)
    assert change(empty).getbbox() is None


def test_a_crop_holds_the_subject_and_no_more():
    cropped = crop_to_subject(_square((100, 80), (30, 20, 70, 40), (9, 8, 7, 255)))
    assert cropped.size == (40, 20)
    assert (np.asarray(cropped) == (9, 8, 7, 255)).all()


def test_faint_alpha_does_not_widen_a_crop():
    cutout = _square((100, 80), (30, 20, 70, 40), (9, 8, 7, 255))
    cutout.putpixel((5, 5), (0, 0, 0, 12))
    assert crop_to_subject(cutout).size == (40, 20)


def test_a_margin_is_a_part_of_the_longer_side_and_may_pass_the_border():
    cropped = crop_to_subject(_square((100, 80), (0, 20, 40, 40), (9, 8, 7, 255)), margin=0.25)
    assert cropped.size == (60, 40)
    assert cropped.getbbox() == (10, 10, 50, 30)


@pytest.mark.parametrize(("aspect", "size"), [(1.0, (40, 40)), (4.0, (80, 20)), (0.5, (40, 80))])
def test_an_aspect_is_reached_by_adding(aspect, size):
    cropped = crop_to_subject(_square((100, 80), (30, 20, 70, 40), (9, 8, 7, 255)), aspect=aspect)
    assert cropped.size == size
    left, top, right, bottom = cropped.getbbox()
    assert (right - left, bottom - top) == (40, 20)
    assert abs(left - (size[0] - right)) <= 1
    assert abs(top - (size[1] - bottom)) <= 1


def test_the_largest_parts_stay():
    alpha = Image.new("L", (60, 20))
    for box in ((0, 0, 5, 5), (20, 0, 30, 10), (40, 0, 47, 7)):
        alpha.paste(200, box)
    for num, boxes in ((1, [(20, 0)]), (2, [(20, 0), (40, 0)]), (9, [(0, 0), (20, 0), (40, 0)])):
        kept = keep_largest(alpha, num)
        assert [corner for corner in ((0, 0), (20, 0), (40, 0)) if kept.getpixel(corner)] == boxes


def test_faint_alpha_stays_with_what_it_surrounds_and_goes_with_the_rest():
    alpha = Image.new("L", (60, 20))
    alpha.paste(10, (18, 0, 32, 12))
    alpha.paste(200, (20, 0, 30, 10))
    alpha.paste(10, (40, 0, 50, 10))
    kept = keep_largest(alpha, 1)
    assert kept.getpixel((18, 11)) == 10
    assert kept.getpixel((45, 5)) == 0


def test_faint_alpha_does_not_join_parts():
    alpha = Image.new("L", (60, 20), 10)
    alpha.paste(200, (0, 0, 5, 5))
    alpha.paste(200, (20, 0, 30, 10))
    kept = keep_largest(alpha, 1)
    assert kept.getpixel((0, 0)) == 0
    assert kept.getpixel((25, 5)) == 200


def test_keeping_no_part_is_refused():
    with pytest.raises(ValueError, match="1 or more, got 0"):
        keep_largest(Image.new("L", (4, 4)), 0)


def test_inverting_keeps_what_was_left_out():
    assert list(invert(Image.frombytes("L", (3, 1), bytes([0, 100, 255]))).tobytes()) == [255, 155, 0]


def test_a_box_within_the_picture_is_a_crop():
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8))
    assert cut_to(rgb, (2, 1, 7, 5)) == rgb.crop((2, 1, 7, 5))


def test_beyond_the_picture_its_border_is_repeated():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 3), np.uint8)
    larger = np.asarray(cut_to(Image.fromarray(pixels), (-1, -2, 4, 3)))
    np.testing.assert_array_equal(larger, np.pad(pixels, ((2, 1), (1, 2), (0, 0)), mode="edge"))


def test_a_large_blur_is_what_it_would_be_at_full_size():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((403, 301), Image.Resampling.BICUBIC)
    cutout = image.convert("RGBA")
    cutout.putalpha(0)
    expected = np.asarray(image.filter(ImageFilter.GaussianBlur(20))).astype(int)
    difference = np.abs(np.asarray(on_blur(cutout, image, 20))[:, :, :3] - expected)
    assert difference.mean() < 1.5
    assert difference.max() <= 8
