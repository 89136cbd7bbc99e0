import re
from dataclasses import replace

import numpy as np
import pytest
from pictures import D65, DISPLAY_P3, delta_e, photo, rgb_profile, rgb_to_xyz, srgb_decoded, xyz_to_srgb
from PIL import Image

from u2net.cutout.finish import Crop, Finish
from u2net.errors import ImageTooLarge
from u2net.images.picture import Picture, to_16_bits

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def _picture(own: Image.Image | None = None, profile: bytes | None = None) -> Picture:
    """Green, with a red square of 20 × 20 in the middle of 60 × 40 pixels."""
    rgb = Image.new("RGB", (60, 40), GREEN)
    rgb.paste(RED, (20, 10, 40, 30))
    return Picture(rgb, own, profile)


def _alpha() -> np.ndarray:
    """The square, and a speck in a corner."""
    alpha = np.zeros((40, 60), dtype=np.uint8)
    alpha[10:30, 20:40] = 255
    alpha[2, 2] = 255
    return alpha


def test_unasked_a_cut_out_is_picture_and_alpha():
    cutout = np.asarray(Finish(keep_hidden=True).apply(_picture(), _alpha()))
    np.testing.assert_array_equal(cutout, np.dstack([np.asarray(_picture().rgb), _alpha()]))


@pytest.mark.parametrize(
    "finish",
    [
        Finish(),
        Finish(keep_hidden=True, shadow=True),
        Finish(crop=Crop(margin=2.0)),
        Finish(clean=True),
        Finish(background="blur"),
    ],
)
def test_made_in_place_a_result_is_the_same(finish):
    assert finish.apply(_picture(), _alpha(), in_place=True) == finish.apply(_picture(), _alpha())


def test_unless_it_is_made_in_place_the_picture_is_not_changed():
    picture = _picture()
    Finish().apply(picture, _alpha())
    assert picture.rgb == _picture().rgb


def test_only_the_largest_parts_stay():
    mask = np.asarray(Finish(parts=1, only_mask=True).apply(_picture(), _alpha()))
    assert mask[2, 2] == 0
    assert mask.sum() == 255 * 400


def test_what_surrounds_the_subject():
    cutout = Finish(inverted=True).apply(_picture(), _alpha())
    assert cutout.getpixel((30, 20))[3] == 0
    assert cutout.getpixel((5, 20)) == (*GREEN, 255)


def test_a_crop_takes_picture_mask_and_transparency_alike():
    own = Image.new("L", (60, 40), 200)
    for finish, mode in ((Finish(parts=1, crop=Crop()), "RGBA"), (Finish(parts=1, crop=Crop(), only_mask=True), "L")):
        result = finish.apply(_picture(own), _alpha())
        assert (result.size, result.mode) == ((20, 20), mode)
        assert result.getextrema()[-1] in ((200, 200), 200)


def test_a_crop_follows_what_the_picture_shows():
    own = Image.new("L", (60, 40))
    own.paste(255, (20, 10, 30, 30))
    assert Finish(parts=1, crop=Crop()).apply(_picture(own), _alpha()).size == (10, 20)


def test_a_crop_with_margin_and_aspect_may_reach_beyond_the_picture():
    result = Finish(parts=1, crop=Crop(margin=1.0, aspect=2.0)).apply(_picture(), _alpha())
    assert result.size == (120, 60)
    assert result.getpixel((0, 0))[3] == 0
    assert result.getpixel((60, 30)) == (*RED, 255)


def test_a_crop_far_beyond_the_picture_is_refused():
    with pytest.raises(ImageTooLarge, match="20 × 20000 pixels: ask for a smaller margin or aspect"):
        Finish(parts=1, crop=Crop(aspect=0.001)).apply(_picture(), _alpha())


def test_clean_colours_have_none_of_the_old_background():
    alpha = _alpha()
    alpha[10:30, 38:40] = 128
    rgb = np.asarray(_picture().rgb).copy()
    rgb[10:30, 38:40] = (127, 128, 0)  # half red, half green
    mixed = Picture(Image.fromarray(rgb), None, None)
    plain = Finish(parts=1).apply(mixed, alpha).getpixel((38, 20))
    clean = Finish(parts=1, clean=True).apply(mixed, alpha).getpixel((38, 20))
    assert plain == (127, 128, 0, 128)
    assert clean[0] > 220
    assert clean[1] < 35
    assert clean[3] == 128


def test_a_shadow_lies_below_the_subject_and_under_it():
    plain, shaded = (Finish(parts=1, shadow=shadow).apply(_picture(), _alpha()) for shadow in (False, True))
    assert shaded.getpixel((30, 20)) == (*RED, 255)
    assert plain.getpixel((30, 31))[3] == 0
    assert shaded.getpixel((30, 31))[:3] == (0, 0, 0)
    assert shaded.getpixel((30, 31))[3] > 10
    assert shaded.getpixel((30, 2))[3] == 0


def test_a_shadow_has_the_room_of_the_margin_and_does_not_widen_the_crop():
    result = Finish(parts=1, crop=Crop(margin=0.5), shadow=True).apply(_picture(), _alpha())
    assert result.size == (40, 40)


def _over(background, picture=None) -> Image.Image:
    return Finish(parts=1, background=background).apply(picture or _picture(), _alpha())


def test_over_a_colour():
    assert _over(((*BLUE, 255),)).getpixel((0, 0)) == (*BLUE, 255)


def test_over_a_gradient_from_top_to_bottom():
    result = _over(((0, 0, 0, 255), (255, 255, 255, 255)))
    column = [result.getpixel((0, y))[0] for y in range(40)]
    assert column == sorted(column)
    assert column[0] < 10
    assert column[-1] > 245
    assert result.getpixel((30, 20)) == (*RED, 255)


def test_over_its_own_background_out_of_focus_without_a_glow_of_the_subject():
    result = np.asarray(_over("blur"))
    assert np.abs(result[:, :19, :3].astype(int) - GREEN).max() <= 1
    assert (result[..., 3] == 255).all()


def test_over_a_picture_scaled_to_cover_it():
    behind = Image.new("RGB", (300, 100), BLUE)
    behind.paste((9, 9, 9), (0, 0, 30, 100))  # beyond the middle of 3:2
    result = _over(Picture(behind, None, None))
    assert result.size == (60, 40)
    assert result.getpixel((0, 20)) == (*BLUE, 255)


def test_a_picture_behind_is_brought_into_the_space_of_the_one_in_front():
    """Read by its profile, the backdrop's colour is what it was in sRGB."""
    color = (200, 90, 60)
    picture = _picture(profile=rgb_profile(DISPLAY_P3))
    result = _over(Picture(Image.new("RGB", (6, 4), color), None, None), picture)
    stored = np.array([result.getpixel((0, 0))[:3]])
    seen = xyz_to_srgb(srgb_decoded(stored / 255) @ rgb_to_xyz(DISPLAY_P3, D65).T)
    assert delta_e(seen * 255, np.array([color]) / 255) < 1.5


def test_transparency_of_a_picture_behind_becomes_white():
    behind = Picture(Image.new("RGB", (6, 4), BLUE), Image.new("L", (6, 4), 0), None)
    assert _over(behind).getpixel((0, 0)) == (255, 255, 255, 255)


# ---- 16 bits per channel -----------------------------------------------------------------------------------------


def _ramp() -> Image.Image:
    return Image.fromarray(np.tile(np.linspace(0, 255, 60, dtype=np.uint8), (40, 1)))


@pytest.mark.parametrize("own", [None, _ramp()], ids=["opaque", "transparent"])
@pytest.mark.parametrize(
    "finish",
    [
        Finish(),
        Finish(keep_hidden=True),
        Finish(only_mask=True),
        Finish(parts=1),
        Finish(inverted=True),
        Finish(crop=Crop()),
        Finish(crop=Crop(margin=2.0, aspect=0.5), keep_hidden=True),
        Finish(parts=1, inverted=True, crop=Crop(margin=0.1), only_mask=True),
        Finish(parts=1, crop=Crop(margin=0.5), keep_hidden=True, shadow=True),
        Finish(background=((9, 90, 200, 255),)),
        Finish(background=((9, 90, 200, 255), (255, 255, 0, 255))),
        Finish(background="blur", shadow=True),
        Finish(background=Picture(photo(60, 40), None, None)),
    ],
    ids=lambda finish: re.sub(" at 0x[^>]*", "", repr(finish)),
)
def test_8_bits_make_the_same_cut_out_in_16(finish, own):
    picture = _picture(own)
    soft = np.where(_alpha() > 0, _alpha() - np.arange(60, dtype=np.uint8), 0).astype(np.uint8)
    fine = finish.apply(picture, to_16_bits(soft))
    # Pillow cuts products of alphas down, and rounds what it lays over another.
    most = (0.99 if own else 0) + (1.01 if finish.shadow or finish.background else 0)
    assert np.abs(fine / 257 - np.asarray(finish.apply(picture, soft))).max() <= most


def test_clean_colours_in_16_bits_are_those_of_8_with_their_fractions():
    picture, alpha = Picture(photo(60, 40), None, None), np.asarray(_ramp())
    fine = Finish(clean=True).apply(picture, to_16_bits(alpha))
    assert np.abs(fine / 257 - np.asarray(Finish(clean=True).apply(picture, alpha))).max() <= 0.51
    assert (fine[:, :, :3] % 257).any()


def test_alphas_of_16_bits_are_multiplied_to_the_nearest_level():
    kept, own = np.random.default_rng(0).integers(0, 65_536, (2, 40, 60), dtype=np.uint16)
    picture = replace(_picture().in_bits(16), alpha_16=own)
    product = [
        [round(int(a) * int(b) / 65_535) for a, b in zip(*rows, strict=True)] for rows in zip(kept, own, strict=True)
    ]
    np.testing.assert_array_equal(Finish(only_mask=True).apply(picture, kept), product)


def test_fainter_than_8_bits_show_is_no_part_of_its_own():
    alpha = to_16_bits(_alpha())
    alpha[35, 50] = 100
    kept = Finish(parts=1, only_mask=True).apply(_picture(), alpha)
    assert (np.argwhere(kept).min(), kept[35, 50], kept[2, 2], kept[20, 30]) == (10, 0, 0, 65_535)


def test_a_crop_too_far_beyond_the_picture_is_refused_in_16_bits_too():
    with pytest.raises(ImageTooLarge):
        Finish(crop=Crop(margin=9.0, aspect=100.0)).apply(_picture(), to_16_bits(_alpha()))
