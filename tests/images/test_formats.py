import importlib.util
import struct
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from pictures import distance, photo, saved
from PIL import Image

from u2net.errors import ImageTooLarge, UnsupportedFormat
from u2net.images.formats import HEAD, holds_more, kind_of
from u2net.images.load import load_image

needs_heif = pytest.mark.skipif(not importlib.util.find_spec("pillow_heif"), reason="needs the extra heif")


def _heic(image, **options):
    import pillow_heif

    pillow_heif.register_heif_opener()
    try:
        return saved(image, "HEIF", **options)
    finally:
        for table in (Image.OPEN, Image.SAVE, Image.SAVE_ALL):
            table.pop("HEIF", None)


@needs_heif
def test_pictures_of_telephones():
    content = _heic(photo(64, 48), quality=95)
    assert kind_of(content[:HEAD]) == "HEIC"
    picture = load_image(content)
    assert picture.size == (64, 48)
    assert distance(picture.rgb, photo(64, 48)) <= 12


@needs_heif
def test_a_telephone_s_picture_is_upright_once():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert load_image(_heic(photo(64, 48), exif=exif.tobytes())).size == (48, 64)


def test_without_the_extra_its_name_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedFormat, match=r"a HEIC picture needs: pip install 'u2net\[heif\]'"):
        load_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))


def test_brands_that_avif_and_heic_share_are_told_apart():
    assert kind_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert kind_of(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf") == "HEIC"


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_jpeg_2000_is_refused_by_name(options):
    with pytest.raises(UnsupportedFormat, match=r"^a JPEG 2000 picture is not read: save it as PNG or TIFF$"):
        load_image(saved(photo(), "JPEG2000", **options))


@pytest.mark.parametrize(("mode", "levels"), [("1", 255), ("L", 1), ("RGB", 1)])
def test_pnm(mode, levels):
    image = photo().convert(mode)
    assert load_image(saved(image, "PPM")).rgb == image.convert("RGB")


def test_a_pgm_of_12_bits_is_scaled_by_its_maximum():
    values = np.array([[0, 1000, 2000, 2400]], ">u2")  # 11 bits would hold the last but one
    picture = load_image(b"P5\n# dark\n4 1\n4095\n" + values.tobytes())
    assert np.asarray(picture.rgb)[0, :, 0].tolist() == [0, 62, 125, 149]


@pytest.mark.parametrize(
    ("highest", "white"), [(1000, 1023), (1024, 4095), (4000, 4095), (16_000, 16_383), (20_000, 65_535)]
)
def test_the_white_level_of_16_bits_is_the_least_that_holds_all_values(highest, white):
    values = np.array([[0, highest // 2, highest]], np.uint16)
    expected = np.rint(values[0] * (255 / white))
    for data in (values, np.stack([values] * 3, axis=2), saved(Image.fromarray(values), "PNG")):
        assert np.abs(np.asarray(load_image(data).rgb)[0, :, 0] - expected).max() <= 1


def test_the_white_level_that_a_file_states_counts():
    values = Image.fromarray(np.array([[0, 100, 900]], np.uint16))
    tiff = saved(values, "TIFF", tiffinfo={281: 4095})
    png = saved(values, "PNG")
    png = png[:33] + b"\0\0\0\1sBIT\x0c" + bytes(4) + png[33:]  # Pillow checks no sum of a chunk that is left out
    for content in (tiff, png):
        assert np.asarray(load_image(content).rgb)[0, :, 0].tolist() == [0, 6, 56]


def _rgb_png(color, significant_bits=None) -> bytes:
    """A PNG of one pixel in RGB of 16 bits."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    raw = b"\0" + np.broadcast_to(np.array(color, ">u2"), 3).tobytes()
    bits = chunk(b"sBIT", bytes([significant_bits] * 3)) if significant_bits else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)) + bits
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_in_the_lower_12_are_bright():
    colours = np.array([[[0, 2000, 4095]]], np.uint16)
    sixteen = load_image(colours, bit_depth=16)
    assert sixteen.rgb_16.tolist() == [[[0, 32_007, 65_535]]]
    assert load_image(colours).rgb.getpixel((0, 0)) == sixteen.rgb.getpixel((0, 0)) == (0, 125, 255)
    assert load_image(_rgb_png([0, 2000, 4095])).rgb.getpixel((0, 0)) == (0, 119, 255)  # of 16 levels that Pillow keeps


def test_a_tiff_of_float_colours_is_refused_for_what_it_is():
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4, 3), np.float32), photometric="rgb")
    with pytest.raises(UnsupportedFormat, match="colours as floats: save it in 8 or 16 bits"):
        load_image(file.getvalue())


def test_a_camera_s_raw_picture_is_refused_for_what_it_is():
    with pytest.raises(UnsupportedFormat, match="raw picture"):
        load_image(saved(photo(), "TIFF", tiffinfo={50_706: b"\1\4\0\0"}))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "BMP"])
def test_pictures_one_after_another_are_noticed(kind):
    one, odd = saved(photo(), kind), saved(photo(31, 17), kind)
    assert not holds_more(one)
    assert not holds_more(one + b"\0" * 100)
    for first in (one, odd):
        assert holds_more(first + saved(photo(), "PNG"))
        assert holds_more(first + saved(photo(), "JPEG"))


def test_a_file_of_several_pictures_is_one():
    assert not holds_more(saved(photo(), "MPO", save_all=True, append_images=[photo()]))


def test_a_faint_picture_of_8_bits_stays_faint():
    pixels = np.full((4, 4, 4), (10, 20, 30, 50), np.uint8)
    picture = load_image(saved(Image.fromarray(pixels), "PNG"))
    assert (picture.rgb.getpixel((0, 0)), picture.alpha.getpixel((0, 0))) == ((10, 20, 30), 50)


def test_a_white_level_of_nothing_and_one_that_is_full_are_taken_as_said():
    black = load_image(saved(Image.fromarray(np.zeros((2, 2), np.uint16)), "TIFF", tiffinfo={281: 0}))
    assert black.rgb.getextrema() == ((0, 0),) * 3
    png = saved(Image.fromarray(np.full((1, 1), 4000, np.uint16)), "PNG")
    full = png[:33] + b"\0\0\0\1sBIT\x10" + bytes(4) + png[33:]
    assert load_image(full).rgb.getpixel((0, 0)) == (16, 16, 16)


def test_colours_of_16_bits_have_the_white_level_that_the_file_states():
    full = _rgb_png(4000, 16)
    assert load_image(full).rgb.getpixel((0, 0)) == (15, 15, 15)  # the upper half of the level
    assert load_image(_rgb_png(900, 12)).rgb.getpixel((0, 0)) == (51, 51, 51)


def test_a_tiff_has_one_white_level_in_8_and_in_16_bits():
    tifffile = pytest.importorskip("tifffile")
    file = BytesIO()
    tags = [(281, "H", 3, (4095, 4095, 4095), False)]
    tifffile.imwrite(file, np.full((2, 2, 3), 900, np.uint16), photometric="rgb", extratags=tags)
    assert load_image(file.getvalue(), bit_depth=16).rgb_16[0, 0].tolist() == [14_403] * 3  # 900 of 4095
    assert load_image(file.getvalue()).rgb.getpixel((0, 0)) == (51, 51, 51)


def test_a_hostile_picture_in_a_pipe_is_refused_by_its_decoder_alone():
    jpeg = saved(photo(), "JPEG")
    scans = jpeg[:2] + b"\xff\xfe\0\2" * 10_001 + jpeg[2:]
    assert not holds_more(scans)
    with pytest.raises(ImageTooLarge):
        load_image(scans)
