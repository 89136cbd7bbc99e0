import itertools
import struct

import numpy as np
import pytest
from pictures import (
    D50,
    D65,
    DISPLAY_P3,
    PROPHOTO,
    chunk,
    cmyk_profile,
    colour_cube,
    delta_e,
    distance,
    gamma_1_8,
    grey_profile,
    ink_lab,
    lab_to_xyz,
    photo,
    pixels,
    png,
    rgb_profile,
    rgb_to_xyz,
    saved,
    srgb_decoded,
    srgb_encoded,
    tiff,
    xyz_to_srgb,
)
from PIL import Image

from u2net.images.color import from_srgb, to_srgb
from u2net.images.load import LIMITS, Limits, load_image
from u2net.images.picture import Picture
from u2net.images.save import encode

# ---- Modes of pixels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBX", "CMYK", "YCbCr", "HSV", "LAB", "RGBA", "RGBa", "PA", "P"])
def test_colour_in_any_mode_is_the_same_colour(mode):
    image = photo().convert("P", palette=Image.Palette.ADAPTIVE) if mode in ("P", "PA") else photo()
    picture = load_image(image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode))
    assert distance(picture.rgb, photo()) <= {"YCbCr": 2, "HSV": 3, "LAB": 2, "P": 12, "PA": 12}.get(mode, 1)
    assert picture.alpha is None


@pytest.mark.parametrize("mode", ["L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L"])
def test_grey_in_any_mode_is_the_same_grey(mode):
    grey = photo().convert("L")
    image = Image.new(mode, grey.size)
    if mode.startswith("I;16"):
        values = np.asarray(grey).astype(np.uint16) * 257
        image.frombytes(values.astype(">u2" if mode.endswith("B") else "<u2").tobytes())
    else:
        image = grey.convert("LA").convert(mode) if mode == "La" else grey.convert(mode)
    picture = load_image(image)
    assert picture.rgb == grey.convert("RGB")
    assert picture.alpha is None


def test_one_bit_is_black_and_white():
    assert load_image(Image.fromarray(np.eye(9, dtype=bool))).rgb == Image.fromarray(
        np.eye(9, dtype=np.uint8) * 255
    ).convert("RGB")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(kind):
    values = np.random.default_rng(0).integers(0, 65536, (40, 30), np.uint16)
    values[0, :2] = 0, 65535
    picture = load_image(saved(Image.fromarray(values), kind))
    assert pixels(picture.rgb)[..., 0] == pytest.approx(values / 257, abs=0.51)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits_agrees_with_its_twin_of_8(colour, channels):
    deep = np.random.default_rng(1).integers(0, 65536, (20, 30 * channels)).astype(">u2")
    flat = np.rint(deep / 257).astype(np.uint8)
    deep, flat = (
        load_image(png(30, 20, 8 * rows.itemsize, colour, b"".join(b"\0" + row.tobytes() for row in rows)))
        for rows in (deep, flat)
    )
    assert np.abs(pixels(deep.rgb) - pixels(flat.rgb)).max() <= 1
    assert pixels(deep.rgb).mean() == pytest.approx(pixels(flat.rgb).mean(), abs=1)
    assert (deep.alpha is None) == (colour < 4)
    if colour >= 4:
        assert np.abs(pixels(deep.alpha) - pixels(flat.alpha)).max() <= 1


@pytest.mark.parametrize(("channels", "extra"), [(3, {}), (4, {338: 1}), (4, {338: 2})])
def test_tiff_of_16_bits_keeps_colour_and_transparency(channels, extra):
    values = np.array([0xFFFF, 0x8000, 0x4000, 0xC000][:channels])
    if extra == {338: 1}:
        values[:3] = values[:3] * (values[3] / 65535)
    content = values.astype("<u2").tobytes()
    tags = {256: 1, 257: 1, 258: [16] * channels, 259: 1, 262: 2, 273: 0, 277: channels, 278: 1, 279: len(content)}
    picture = load_image(tiff(tags | extra, content))
    assert picture.rgb.getpixel((0, 0)) == pytest.approx((255, 128, 64), abs=1)
    assert (picture.alpha and picture.alpha.getpixel((0, 0))) == (192 if channels == 4 else None)


def test_grey_of_12_bits_is_scaled_to_its_own_white():
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 3}
    picture = load_image(tiff(tags, bytes([0xFF, 0xF8, 0x00])))
    assert [pixel[0] for pixel in np.asarray(picture.rgb)[0]] == [255, 128]


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("F", [0, 0.5, 1], [0, 128, 255]),
        ("F", [-3, 0.25, 1], [0, 64, 255]),
        ("F", [0, 100.4, 255], [0, 100, 255]),
        ("F", [0, 257, 65535], [0, 1, 255]),
        ("F", [0, 1e30, 65535], [0, 255, 255]),
        ("F", [np.nan, np.inf, -np.inf], [0, 255, 0]),
        ("I", [0, 1, 255], [0, 1, 255]),
        ("I", [-9, 257, 65535], [0, 1, 255]),
        ("I", [0, 2**30, 2**31 - 1], [0, 128, 255]),
    ],
)
def test_grey_of_32_bits_is_scaled_by_the_documented_rule(dtype, values, expected):
    array = np.array([values], np.float32 if dtype == "F" else np.int32)
    for data in (Image.fromarray(array), saved(Image.fromarray(array), "TIFF")):
        assert np.asarray(load_image(data).rgb)[0, :, 0].tolist() == expected


def test_one_overshoot_in_a_hundred_does_not_darken_a_float_picture():
    array = np.full((10, 10), 0.5, np.float32)
    array[0, 0] = 1.7
    assert load_image(Image.fromarray(array)).rgb.getpixel((5, 5)) == (128, 128, 128)


# ---- Transparency --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "colour", "rows", "transparent"),
    [
        (1, 0, b"\0\x40", struct.pack(">H", 1)),
        (2, 0, b"\0\x1b", struct.pack(">H", 1)),
        (4, 0, b"\0\x35", struct.pack(">H", 5)),
        (8, 0, b"\0\x35\x05", struct.pack(">H", 5)),
        (16, 0, b"\0\x12\x34\x12\x35", struct.pack(">H", 0x1235)),
        (8, 2, b"\0\1\2\3\4\5\6", struct.pack(">3H", 4, 5, 6)),
        (16, 2, b"\0\x81\4\2\5\3\6\x84\1\5\2\6\3", struct.pack(">3H", 0x8401, 0x0502, 0x0603)),
        (8, 3, b"\0\0\1", b"\xff\0"),
        (8, 3, b"\0\0\1", b"\xff\x00\x80"),
    ],
)
def test_the_transparent_colour_of_a_png_is_transparent(depth, colour, rows, transparent):
    palette = [chunk(b"PLTE", b"\1\2\3\4\5\6\7\x08\x09")] if colour == 3 else []
    picture = load_image(png(2, 1, depth, colour, rows, *palette, chunk(b"tRNS", transparent)))
    assert np.asarray(picture.alpha).tolist() == [[255, 0]]


def test_the_transparent_index_of_a_gif_is_transparent():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    picture = load_image(saved(image, "GIF", transparency=1))
    assert np.asarray(picture.alpha).tolist() == [[255, 0]]
    assert picture.rgb.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(("mode", "colour"), [("RGBa", (50, 100, 0, 128)), ("La", (50, 128))])
def test_premultiplied_colour_is_made_straight(mode, colour):
    picture = load_image(Image.new(mode, (3, 3), colour))
    expected = (100, 199, 0) if mode == "RGBa" else (100, 100, 100)
    assert picture.rgb.getpixel((1, 1)) == pytest.approx(expected, abs=1)
    assert picture.alpha.getpixel((1, 1)) == 128


def test_colour_below_transparency_is_kept_straight():
    picture = load_image(saved(Image.new("RGBA", (2, 2), (10, 200, 30, 0)), "PNG"))
    assert picture.rgb.getpixel((0, 0)) == (10, 200, 30)
    assert picture.alpha.getextrema() == (0, 0)


def test_the_network_sees_transparency_over_white():
    picture = load_image(Image.new("RGBA", (2, 2), (0, 100, 200, 51)))
    assert picture.view().getpixel((0, 0)) == pytest.approx((204, 224, 244), abs=1)
    assert picture.view().mode == "RGB"


def test_the_network_sees_a_plain_picture_itself():
    picture = load_image(photo())
    assert picture.view() is picture.rgb


def test_full_opacity_is_no_transparency():
    assert load_image(Image.new("RGBA", (2, 2), (1, 2, 3, 255))).alpha is None


# ---- Colour profiles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("primaries", "white", "decode"), [(DISPLAY_P3, D65, srgb_decoded), (PROPHOTO, D50, gamma_1_8)]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_the_network_sees_wide_colours_as_the_standards_say(primaries, white, decode, kind):
    profile, cube = rgb_profile(primaries, white, decode), colour_cube()
    # Each colour fills a block, so that JPEG gives it back almost as it was.
    image = Image.fromarray(cube.repeat(16, axis=0).repeat(16, axis=1))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    picture = load_image(saved(image, kind, icc_profile=profile, **options))
    assert picture.icc_profile == profile
    given, seen = (np.asarray(image)[8::16, 8::16] for image in (picture.rgb, picture.view()))
    assert np.abs(given - cube.astype(int)).max() <= (2 if kind == "JPEG" else 0)
    assert delta_e(seen, xyz_to_srgb(decode(given / 255) @ rgb_to_xyz(primaries, white).T)) < 2


def _washed_out(encoded: np.ndarray) -> np.ndarray:
    """The levels of a screen whose black shines."""
    return 0.03 + 0.97 * srgb_decoded(encoded)


def test_the_darkest_colour_of_a_profile_is_black():
    profile = rgb_profile(DISPLAY_P3, decode=_washed_out)
    black, white = (Picture(Image.new("RGB", (1, 1), name), None, profile).view() for name in ("black", "white"))
    assert max(black.getpixel((0, 0))) <= 3
    assert min(white.getpixel((0, 0))) >= 252


def test_dark_colours_stay_apart_in_a_profile_whose_black_shines():
    profile = rgb_profile(DISPLAY_P3, decode=_washed_out)
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2))
    back = to_srgb(profile, "RGB").apply(from_srgb(ramp, profile))
    assert np.abs(pixels(back) - pixels(ramp)).max() <= 4


def test_a_profile_of_srgb_is_recognised_by_what_it_does():
    picture = load_image(saved(photo(), "PNG", icc_profile=rgb_profile()))
    assert (picture.icc_profile, picture.rgb) == (None, photo())


def test_a_profile_near_srgb_is_kept():
    profile = rgb_profile(decode=lambda encoded: encoded**2.2)
    assert load_image(saved(photo(), "PNG", icc_profile=profile)).icc_profile == profile


@pytest.mark.parametrize(
    "profile",
    [
        b"nonsense",
        rgb_profile(DISPLAY_P3)[:-20000],
        rgb_profile(DISPLAY_P3)[:130],
        rgb_profile(DISPLAY_P3).replace(b"acsp", b"pasc"),
        rgb_profile(DISPLAY_P3).replace(b"mntr", b"link"),
        grey_profile(gamma_1_8),
        cmyk_profile(),
    ],
    ids=["nonsense", "cut", "header", "signature", "link", "grey", "cmyk"],
)
def test_a_profile_that_is_broken_or_of_another_space_is_ignored(profile):
    picture = load_image(saved(photo(), "PNG", icc_profile=profile))
    assert (picture.icc_profile, picture.rgb) == (None, photo())


def test_a_profile_at_the_limit_is_kept_and_a_longer_one_is_ignored():
    # PNG above 1 MiB, where Pillow would refuse the picture.
    profile = rgb_profile(DISPLAY_P3) + np.random.default_rng(3).bytes(2 << 20)
    for kind in ("PNG", "JPEG", "TIFF"):
        content = saved(photo(), kind, icc_profile=profile)
        assert load_image(content, Limits(max_icc_bytes=len(profile))).icc_profile == profile
        assert load_image(content, Limits(max_icc_bytes=len(profile) - 1)).icc_profile is None
    assert LIMITS.max_icc_bytes == 4 << 20


def test_an_iccp_chunk_that_does_not_inflate_is_ignored():
    for content in (b"", b"name", b"name\0\0nonsense"):
        assert load_image(png(1, 1, 8, 2, b"\0\1\2\3", chunk(b"iCCP", content))).icc_profile is None


def test_grey_becomes_srgb_by_its_profile():
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    picture = load_image(saved(ramp, "PNG", icc_profile=grey_profile(gamma_1_8)))
    truth = srgb_encoded(gamma_1_8(np.arange(256) / 255))
    assert np.abs(pixels(picture.rgb)[0, :, 1] - 255 * truth).max() < 1.5
    assert picture.icc_profile is None


def test_the_darkest_grey_of_a_profile_becomes_black():
    """Black-point compensation (ISO 18619) subtracts the light that the darkest grey has, and stretches the rest."""
    encoded = np.arange(0, 256, 15, dtype=np.uint8)
    profile = grey_profile(lambda level: 0.03 + 0.97 * level**2.2)
    picture = load_image(saved(Image.fromarray(encoded[None]), "PNG", icc_profile=profile))
    expected = 255 * srgb_encoded((encoded / 255) ** 2.2)
    assert np.abs(pixels(picture.rgb)[0, :, 1] - expected).max() <= 1.5


def test_grey_and_palettes_in_a_profile_of_rgb_stay_in_it():
    profile = rgb_profile(DISPLAY_P3)
    for mode in ("L", "P", "1", "RGBA"):
        picture = load_image(saved(photo().convert(mode), "PNG", icc_profile=profile))
        assert (picture.icc_profile, picture.rgb) == (profile, photo().convert(mode).convert("RGB"))


def test_cmyk_becomes_srgb_by_its_profile():
    inks = np.array(list(itertools.product([0, 255], repeat=3)), np.uint8)
    inks = np.concatenate([inks, np.full((8, 1), 0, np.uint8)], axis=1)[None]
    image = Image.frombytes("CMYK", (8, 1), inks.tobytes())
    picture = load_image(saved(image, "TIFF", icc_profile=cmyk_profile()))
    assert picture.icc_profile is None
    assert delta_e(pixels(picture.rgb), xyz_to_srgb(lab_to_xyz(ink_lab(inks / 255)))) < 2


@pytest.mark.parametrize("profile", [None, rgb_profile(DISPLAY_P3)], ids=["without", "misplaced"])
def test_cmyk_without_a_profile_of_its_own_is_not_inverted(profile):
    for kind in ("JPEG", "TIFF"):
        image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        picture = load_image(saved(image, kind, icc_profile=profile))
        assert picture.icc_profile is None
        assert picture.rgb.getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=3)


def test_lab_becomes_srgb():
    values = np.array([[[54, 80, 69], [50, 0, 0], [80, -40, 30]]])
    image = Image.frombytes("LAB", (3, 1), np.rint(values * [2.55, 1, 1]).astype(np.int16).astype(np.uint8).tobytes())
    assert delta_e(pixels(load_image(image).rgb), xyz_to_srgb(lab_to_xyz(values))) < 3


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
def test_the_profile_reaches_the_output(kind):
    profile = rgb_profile(DISPLAY_P3)
    picture = load_image(saved(photo(), "PNG", icc_profile=profile))
    again = load_image(encode(picture.rgb, kind, picture.icc_profile))
    assert again.icc_profile == profile
    assert distance(again.view(), picture.view()) < 4
    assert load_image(encode(picture.rgb, kind)).icc_profile is None
