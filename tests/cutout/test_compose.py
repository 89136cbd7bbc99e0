import numpy as np
import pytest
from PIL import Image

from u2net.cutout.compose import (
    keep_largest,
    subject_box,
    with_alpha,
    with_shadow,
)
from u2net.images.picture import to_16_bits


def _soft_disc(size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2
    return (255 * np.clip(size / 4 - np.hypot(x, y), 0, 1)).astype(np.uint8)


def test_colours_are_straight():
    """rembg's default makes 100 of this 200 (its naive cut-out multiplies by alpha and stores it as straight)."""
    cutout = with_alpha(Image.new("RGB", (1, 1), (200, 200, 200)), np.full((1, 1), 128, np.uint8))
    assert cutout.getpixel((0, 0)) == (200, 200, 200, 128)


def test_the_removed_background_is_gone_from_the_file():
    picture = Image.new("RGB", (64, 64), "red")
    pixels = np.asarray(with_alpha(picture, _soft_disc()))
    assert (pixels[:8, :8] == 0).all()


@pytest.mark.parametrize("shape", [(64, 64), (61, 47), (8, 8), (7, 9), (1, 33), (1, 1)])
def test_colours_survive_wherever_anything_shows_within_eight_pixels(shape):
    rng = np.random.default_rng(0)
    alpha = (rng.random(shape) < 0.01).astype(np.uint8) * rng.integers(1, 256, shape, dtype=np.uint8)
    pixels = np.asarray(with_alpha(Image.new("RGB", shape[::-1], "white"), alpha))
    for y, x in np.argwhere(alpha):
        assert (pixels[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9, :3] == 255).all()


def test_scaling_straight_colours_makes_no_dark_rim():
    """As programs do that ignore alpha while they scale."""
    cutout = with_alpha(Image.new("RGB", (64, 64), "white"), np.where(_soft_disc() > 127, np.uint8(255), np.uint8(0)))
    scaled = np.asarray(Image.merge("RGBA", [c.resize((160, 160), Image.Resampling.BICUBIC) for c in cutout.split()]))
    assert scaled[scaled[..., 3] > 0, :3].min() == 255


def test_colours_can_be_kept_under_transparent_pixels():
    picture = Image.new("RGB", (64, 64), "red")
    pixels = np.asarray(with_alpha(picture, np.zeros((64, 64), np.uint8), keep_hidden=True))
    assert (pixels == (255, 0, 0, 0)).all()


def test_the_picture_given_is_not_changed():
    picture = Image.new("RGB", (64, 64), "red")
    with_alpha(picture, _soft_disc())
    assert picture.mode == "RGB"
    assert (np.asarray(picture) == (255, 0, 0)).all()


def _square(size: tuple[int, int], box: tuple[int, int, int, int], color: tuple[int, int, int, int]) -> Image.Image:
    cutout = Image.new("RGBA", size)
    cutout.paste(color, box)
    return cutout


def test_a_shadow_lies_at_the_foot_and_under_the_subject():
    cutout = _square((100, 100), (30, 20, 70, 60), (9, 8, 7, 255))
    pixels = np.asarray(with_shadow(cutout))
    assert (pixels[20:60, 30:70] == (9, 8, 7, 255)).all()
    assert 0 < pixels[61, 50, 3] < 255
    assert (pixels[61, 50, :3] == 0).all()
    assert not pixels[:30, :20].any()


def test_a_shadow_is_darkest_on_the_ground():
    pixels = np.asarray(with_shadow(_square((100, 100), (30, 20, 70, 60), (9, 8, 7, 255))))
    assert pixels[60, 50, 3] > 0.9 * 128  # half of its depth lies behind the subject, half before it


def test_a_shadow_is_as_strong_as_asked():
    cutout = _square((100, 100), (30, 20, 70, 60), (9, 8, 7, 255))
    strong, weak = (with_shadow(cutout, opacity).getpixel((50, 61))[3] for opacity in (0.8, 0.2))
    assert strong == pytest.approx(4 * weak, abs=3)


def test_a_shadow_of_16_bits_is_that_of_8_more_finely():
    cutout = _square((300, 200), (90, 20, 210, 150), (9, 8, 7, 255))
    fine = with_shadow(to_16_bits(np.asarray(cutout)))
    assert np.abs(fine / 257 - np.asarray(with_shadow(cutout))).max() <= 0.6
    assert len(np.unique(fine[..., 3])) > 256


def test_a_cut_out_of_nothing_stays():
    empty = Image.new("RGBA", (7, 5))
    assert with_shadow(empty).size == (7, 5)
    assert with_shadow(empty).getbbox() is None
    assert subject_box(np.zeros((5, 7), np.uint8)) == (0, 0, 7, 5)


def _alpha(*boxes: tuple[int, int, int, int, int], size: tuple[int, int] = (60, 20)) -> np.ndarray:
    """An alpha with boxes of left, top, right, bottom and level."""
    alpha = np.zeros(size[::-1], np.uint8)
    for left, top, right, bottom, level in boxes:
        alpha[top:bottom, left:right] = level
    return alpha


def test_faint_alpha_does_not_widen_a_crop():
    for level, box in ((12, (30, 20, 70, 40)), (13, (5, 5, 70, 40))):
        alpha = _alpha((5, 5, 6, 6, level), (30, 20, 70, 40, 255), size=(100, 80))
        assert subject_box(alpha) == subject_box(to_16_bits(alpha)) == box


def test_a_margin_is_a_part_of_the_longer_side_and_may_pass_the_border():
    alpha = _alpha((0, 20, 40, 40, 255), size=(100, 80))
    assert subject_box(alpha, margin=0.25) == (-10, 10, 50, 50)


@pytest.mark.parametrize(
    ("aspect", "box"), [(1.0, (30, 10, 70, 50)), (4.0, (10, 20, 90, 40)), (0.5, (30, -10, 70, 70))]
)
def test_an_aspect_is_reached_by_adding(aspect, box):
    assert subject_box(_alpha((30, 20, 70, 40, 255), size=(100, 80)), aspect=aspect) == box


@pytest.mark.parametrize("kind", [np.uint8, to_16_bits])
def test_the_largest_parts_stay(kind):
    alpha = kind(_alpha((0, 0, 5, 5, 200), (20, 0, 30, 10, 200), (40, 0, 47, 7, 200)))
    for num, columns in ((1, [20]), (2, [20, 40]), (9, [0, 20, 40])):
        kept = keep_largest(alpha, num)
        assert kept.dtype == alpha.dtype
        assert [column for column in (0, 20, 40) if kept[0, column] == alpha[0, column]] == columns


def test_faint_alpha_stays_with_what_it_surrounds_and_goes_with_the_rest():
    kept = keep_largest(_alpha((18, 0, 32, 12, 10), (20, 0, 30, 10, 200), (40, 0, 50, 10, 10)), 1)
    assert (kept[11, 18], kept[5, 45]) == (10, 0)


@pytest.mark.parametrize(("level", "kept"), [(12, 0), (13, 200)])
def test_faint_alpha_does_not_join_parts(level, kept):
    alpha = _alpha((0, 0, 60, 20, level), (0, 0, 5, 5, 200), (20, 0, 30, 10, 200))
    found = keep_largest(alpha, 1)
    assert (found[0, 0], found[5, 25]) == (kept, 200)


def test_keeping_no_part_is_refused():
    with pytest.raises(ValueError, match="1 or more, got 0"):
        keep_largest(np.zeros((4, 4), np.uint8), 0)
