import io
import sys
import zlib

import numpy as np
import pytest
from pictures import DISPLAY_P3, SRGB, photo, rgb_profile, saved, tiff
from PIL import ExifTags, Image

from u2net.errors import ImageTooLarge, InvalidImage, MissingExtra
from u2net.images.exif import kept_exif
from u2net.images.load import Limits, load_image
from u2net.images.picture import Picture, to_8_bits
from u2net.images.tiff import to_tiff

SIZE = (50, 40)


def _levels(num_channels: int = 3) -> np.ndarray:
    """Smooth, with lower bytes that no 8 bits hold."""
    y, x, c = np.mgrid[0 : SIZE[1], 0 : SIZE[0], 0:num_channels]
    return (1297 * x + 701 * y + 20_011 * c + 13).astype(np.uint16)


def _file(levels: np.ndarray, **options: object) -> bytes:
    """A TIFF file as tifffile writes it."""
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, levels, photometric="rgb", metadata=None, **options)
    return buffer.getvalue()


def _plain(channels: int, content: bytes, compression: int = 1, **more: int) -> bytes:
    """A TIFF file of 1 × 1 pixels, 16 bits per channel."""
    tags = {256: 1, 257: 1, 258: [16] * channels, 259: compression, 262: 2, 273: 0, 277: channels, 278: 1}
    return tiff(tags | {279: len(content)} | {int(tag[1:]): value for tag, value in more.items()}, content)


def _lzw(content: bytes) -> bytes:
    """In codes of 9 bits: clear, the bytes themselves, end (TIFF 6.0, section 13)."""
    codes = [256, *content, 257]
    bits = "".join(f"{code:09b}" for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 7},
        {"tile": (16, 32)},
        {"tile": (16, 32), "compression": "zlib", "predictor": True},
    ],
)
def test_every_bit_of_a_tiff_file_is_read(options, byteorder):
    fine = load_image(_file(_levels(), byteorder=byteorder, **options), bit_depth=16)
    np.testing.assert_array_equal(fine.rgb_16, _levels())
    np.testing.assert_array_equal(np.asarray(fine.rgb), to_8_bits(_levels()))
    assert fine.alpha_16 is None


@pytest.mark.parametrize("options", [{}, {"compression": "zlib", "predictor": True}])
def test_channels_may_lie_apart(options):
    content = _file(np.moveaxis(_levels(), 2, 0), planarconfig="separate", **options)
    np.testing.assert_array_equal(load_image(content, bit_depth=16).rgb_16, _levels())


def test_a_path_is_read_as_bytes_are(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(_file(_levels()))
    np.testing.assert_array_equal(load_image(path, bit_depth=16).rgb_16, _levels())


def test_transparency_stays_in_16_bits():
    fine = load_image(_file(_levels(4), extrasamples=["unassalpha"]), bit_depth=16)
    np.testing.assert_array_equal(fine.alpha_16, _levels(4)[:, :, 3])
    np.testing.assert_array_equal(fine.rgb_16, _levels())


def test_colours_multiplied_by_alpha_become_straight():
    pytest.importorskip("tifffile")
    fine = load_image(_plain(4, np.array([30_000, 10_001, 0, 40_000], "<u2").tobytes(), t338=1), bit_depth=16)
    assert fine.rgb_16.tolist() == [[[round(30_000 / 40_000 * 65_535), round(10_001 / 40_000 * 65_535), 0]]]
    assert fine.alpha_16.tolist() == [[40_000]]


def test_a_fourth_channel_of_something_else_is_no_transparency():
    pytest.importorskip("tifffile")
    assert load_image(_plain(4, np.array([1, 2, 3, 4], "<u2").tobytes(), t338=0), bit_depth=16).alpha_16 is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright_as_pillow_has_it(orientation):
    content = _file(_levels(), extratags=[(274, "H", 1, orientation, True)])
    fine = load_image(content, bit_depth=16)
    np.testing.assert_array_equal(fine.rgb_16 >> 8, np.asarray(load_image(content).rgb))
    assert fine.rgb_16.shape[1::-1] == fine.size


@pytest.mark.parametrize("primaries", [SRGB, DISPLAY_P3])
def test_the_files_own_profile_stays(primaries):
    profile = rgb_profile(primaries)
    assert load_image(_file(_levels(), iccprofile=profile), bit_depth=16).icc_profile == profile


def test_a_broken_profile_is_none():
    assert load_image(_file(_levels(), iccprofile=rgb_profile(SRGB)[:200]), bit_depth=16).icc_profile is None


def test_what_the_camera_noted_is_there_to_be_kept():
    pytest.importorskip("tifffile")
    tags = Image.Exif()
    tags[ExifTags.Base.Make] = "Cam"
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FNumber] = 2.5
    picture = load_image(to_tiff(_levels(4), exif=tags.tobytes()), bit_depth=16)
    kept = Image.Exif()
    kept.load(kept_exif(picture.exif))
    assert kept[ExifTags.Base.Make] == "Cam"
    assert kept.get_ifd(ExifTags.IFD.Exif) == {ExifTags.Base.FNumber: 2.5}
    assert ExifTags.Base.ImageWidth not in kept


def test_without_notes_there_are_none_to_be_kept():
    pytest.importorskip("tifffile")
    assert kept_exif(load_image(to_tiff(_levels(4)), bit_depth=16).exif) is None


def test_arrays_of_16_bits_are_taken_as_they_are():
    for channels in (3, 4):
        given = _levels(channels)
        fine = load_image(given, bit_depth=16)
        np.testing.assert_array_equal(fine.rgb_16, _levels(channels)[:, :, :3])
        np.testing.assert_array_equal(given, _levels(channels))
        assert (fine.alpha_16 is None) == (channels == 3)


@pytest.mark.parametrize(
    "data",
    [
        photo(),
        saved(photo(), "JPEG"),
        saved(photo(), "TIFF"),
        saved(photo().convert("CMYK"), "TIFF"),
        np.asarray(photo()),
        np.full((4, 5), 40_000, np.uint16),
        load_image(photo()),
    ],
)
def test_all_else_has_8_bits(data):
    picture = data if isinstance(data, Picture) else load_image(data)
    fine = load_image(data, bit_depth=16)
    np.testing.assert_array_equal(fine.rgb_16, np.asarray(picture.rgb).astype(np.uint16) * 257)
    assert fine.rgb == picture.rgb


def test_without_tifffile_16_bits_name_the_extra_and_8_do_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(
        MissingExtra, match=r"^16 bits per channel of a TIFF picture need: pip install 'u2net\[tiff\]'$"
    ):
        load_image(_plain(3, bytes(6)), bit_depth=16)
    load_image(saved(photo(), "TIFF"), bit_depth=16)


def test_lzw_is_refused_with_what_to_do_instead():
    pytest.importorskip("tifffile")
    content = _plain(3, _lzw(bytes([1, 2, 3, 4, 5, 200])), compression=5)
    assert load_image(content).rgb.getpixel((0, 0)) == (2, 4, 200)
    with pytest.raises(InvalidImage, match=r"^16 bits compressed by LZW .* save the TIFF with ZIP, or uncompressed$"):
        load_image(content, bit_depth=16)


def test_a_truncated_file_is_refused_in_one_line():
    for options in ({}, {"compression": "zlib"}):
        with pytest.raises(InvalidImage, match=r"^broken TIFF picture"):
            load_image(_file(_levels(), **options)[:-3000], bit_depth=16)


def test_a_strip_that_would_inflate_beyond_its_pixels_is_refused():
    pytest.importorskip("tifffile")
    content = _plain(3, zlib.compress(bytes(10_000_000)), compression=8)
    assert load_image(content).size == (1, 1)
    with pytest.raises(InvalidImage, match="a part of it holds more than its pixels"):
        load_image(content, bit_depth=16)


def test_limits_are_those_of_pictures():
    for limits in (Limits(max_pixels=1999), Limits(max_side=49), Limits(max_bytes=100)):
        with pytest.raises(ImageTooLarge):
            load_image(_file(_levels()), limits, bit_depth=16)


def test_broken_files_are_read_or_refused_and_raise_nothing_else():
    rng, num_refused, num_read = np.random.default_rng(0), 0, 0
    for content in (_file(_levels(), compression="zlib", predictor=True), _file(_levels(), tile=(16, 16))):
        for _ in range(150):
            broken = bytearray(content)
            for place in rng.integers(8, 300, 2):
                broken[place] = rng.integers(256)
            try:
                fine = load_image(bytes(broken), bit_depth=16)
            except InvalidImage:
                num_refused += 1
            else:
                assert fine.rgb_16.shape[1::-1] == fine.size
                num_read += 1
    assert min(num_refused, num_read) > 0
