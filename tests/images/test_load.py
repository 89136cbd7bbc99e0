import csv
import functools
import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from needs import FolderIsNoFile, needs_fifos, needs_proc
from pictures import (
    DISPLAY_P3,
    chunk,
    distance,
    exif,
    photo,
    pixels,
    png,
    reopened,
    rgb_profile,
    saved,
    tiff,
)
from PIL import Image, ImageFile, PngImagePlugin

import u2net.images.load
from u2net.errors import ImageTooLarge, InvalidImage, NotEnoughRoom, UnsupportedFormat
from u2net.images.load import Limits, load_image, load_stored
from u2net.images.save import encode

# ---- What goes in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG", "MPO", "AVIF"])
def test_every_accepted_format_gives_the_same_picture(kind):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "MPO": {"quality": 95}}.get(kind, {})
    picture = load_image(saved(photo(), kind, **options))
    assert distance(picture.rgb, photo()) <= {"JPEG": 2, "MPO": 2, "AVIF": 4, "GIF": 12}.get(kind, 0)
    assert (picture.alpha, picture.icc_profile, picture.size) == (None, None, (48, 32))


def test_bytes_paths_images_and_arrays_give_the_same_picture(tmp_path):
    content = saved(photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    unloaded = reopened(content)
    given = [content, bytearray(content), memoryview(content), str(path), path, photo(), unloaded]
    for data in [*given, np.asarray(photo())]:
        assert load_image(data).rgb == photo()


def test_content_decides_and_not_the_name(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(photo(), "PNG"))
    assert load_image(path).rgb == photo()


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "DDS", "ICNS"])
def test_other_formats_of_pillow_are_refused_and_start_no_program(kind, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(UnsupportedFormat, match="not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC or PNM picture"):
        load_image(saved(photo(64, 64), kind))


@pytest.mark.parametrize(
    "content", [b"", b"\x89PN", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", b"PK\3\4", b"\x1f\x8b\x08"]
)
def test_what_is_no_picture_is_refused(content):
    with pytest.raises(UnsupportedFormat):
        load_image(content)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_the_first_of_several_frames_is_taken(kind):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    content = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert pixels(load_image(content).rgb)[5, 10] == pytest.approx([255, 0, 0], abs=3)


def test_faults_in_later_frames_and_long_texts_of_a_png_do_not_matter():
    rows = b"\0\xff\0\0"
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2 << 20)))
    frames = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", bytes(26))
    assert load_image(png(1, 1, 8, 2, rows, text, frames)).rgb.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("data", [None, 7, 1.5, [1, 2], {}, object()])
def test_other_types_are_refused_by_name(data):
    with pytest.raises(InvalidImage, match=rf"cannot read a picture from {type(data).__name__}: "):
        load_image(data)


def test_paths_that_cannot_be_read_say_so_in_their_own_way(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "missing.png")
    with pytest.raises(FolderIsNoFile):
        load_image(tmp_path)


@needs_fifos
def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(InvalidImage, match=r"^not a regular file$"):
            load_image(path)


# ---- Orientation and metadata --------------------------------------------------------------------------------

# Where the standard puts row 0 and column 0 (Exif 2.3, table 6), undone by numpy.
FROM_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}


def turned(image: Image.Image, orientation: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(FROM_UPRIGHT[orientation](np.asarray(image))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pictures_are_turned_upright(kind, orientation):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    content = saved(turned(photo(), orientation), kind, exif=exif(orientation), **options)
    assert distance(load_image(content).rgb, photo()) <= {"JPEG": 2, "AVIF": 4}.get(kind, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_transparency_and_pil_images_are_turned_too(orientation):
    upright = photo().convert("RGBA")
    upright.putalpha(photo().getchannel("B"))
    image = turned(upright, orientation)
    image.info["exif"] = exif(orientation)
    for data in (image, saved(image, "PNG", exif=exif(orientation))):
        picture = load_image(data)
        assert (picture.rgb, picture.alpha) == (photo(), photo().getchannel("B"))


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_orientations_that_do_not_exist_are_ignored(orientation):
    assert load_image(saved(photo(), "PNG", exif=exif(orientation))).rgb == photo()


@pytest.mark.parametrize("broken", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\xff", b"nonsense", exif(6)[:-7]])
def test_broken_exif_is_ignored(broken):
    image = photo()
    image.info["exif"] = broken
    assert load_image(image).rgb == photo()
    assert load_image(png(1, 1, 8, 2, b"\0\1\2\3", chunk(b"eXIf", broken))).size == (1, 1)


@pytest.mark.parametrize("kind", ["png", "webp", "jpg"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_no_metadata_of_the_input_reaches_the_output(source, kind):
    private = exif(6, description="at home", latitude=(52.0, 30.0, 1.0))
    comment = PngImagePlugin.PngInfo()
    comment.add_text("Comment", "at home")
    extra = {"JPEG": {"comment": b"at home"}, "PNG": {"pnginfo": comment}}.get(source, {})
    content = saved(photo(), source, exif=private, **extra)
    assert b"at home" in content
    picture = load_image(content)
    assert picture.rgb.info == {}
    assert not picture.rgb.getexif()
    for image in (picture.rgb, reopened(content)):
        written = encode(image, kind)
        assert b"at home" not in written
        assert not reopened(written).getexif()


# ---- Arrays and images of the caller -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "colour", "alpha"),
    [
        ((), (7, 7, 7), None),
        ((1,), (7, 7, 7), None),
        ((2,), (7, 7, 7), 8),
        ((3,), (7, 8, 9), None),
        ((4,), (7, 8, 9), 10),
    ],
)
def test_arrays_of_every_shape(shape, colour, alpha):
    array = np.broadcast_to(np.arange(7, 11, dtype=np.uint8)[: shape[0] if shape else 1], (4, 5, *(shape or (1,))))
    picture = load_image(array.reshape(4, 5, *shape))
    assert picture.size == (5, 4)
    assert picture.rgb.getpixel((4, 3)) == colour
    assert (picture.alpha and picture.alpha.getpixel((4, 3))) == alpha


@pytest.mark.parametrize("dtype", ["bool", "u1", "<u2", ">u2", "f2", "<f4", ">f4", "f8", "longdouble"])
def test_arrays_of_every_accepted_type(dtype):
    white = 1 if np.dtype(dtype).kind in "bf" else np.iinfo(dtype).max
    array = np.array([[0, white], [white, 0]]).astype(dtype)
    assert np.asarray(load_image(array).rgb)[..., 1].tolist() == [[0, 255], [255, 0]]


def test_arrays_are_scaled_to_the_nearest_level():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert (np.asarray(load_image(every).rgb)[..., 0] == np.rint(every / 257)).all()
    assert (np.asarray(load_image(every / 65535).rgb)[..., 0] == np.rint(every / 257)).all()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(5, np.uint8), "shape"),
        (np.zeros((2, 2, 5), np.uint8), "shape"),
        (np.zeros((1, 2, 2, 3), np.uint8), "shape"),
        (np.zeros((2, 2, 0), np.uint8), "shape"),
        (np.zeros((0, 5), np.uint8), "empty: 5 × 0 pixels"),
        (np.zeros((5, 0, 3), np.uint8), "empty: 0 × 5 pixels"),
        (np.zeros((2, 2), np.int64), "not int64"),
        (np.zeros((2, 2), complex), "not complex128"),
        (np.zeros((2, 2), object), "not object"),
        (np.full((2, 2), 1.01), r"\[0, 1\]"),
        (np.full((2, 2), -0.01), r"\[0, 1\]"),
        (np.full((2, 2), np.nan), "NaN"),
        (np.full((2, 2), np.inf), r"\[0, 1\]"),
    ],
)
def test_other_arrays_are_refused_with_a_reason(array, reason):
    with pytest.raises(InvalidImage, match=reason):
        load_image(array)


def test_arrays_need_not_be_contiguous():
    array = np.asarray(photo())[::-2, ::3]
    assert (np.asarray(load_image(array).rgb) == array).all()


def test_the_picture_is_independent_of_what_the_caller_does_next():
    for data in (np.array(photo()), photo(), np.array(photo().convert("L")), photo().convert("L")):
        before = load_image(data)
        kept = before.rgb.copy()
        if isinstance(data, np.ndarray):
            data[:] = 0
        else:
            data.paste(0, (0, 0, *data.size))
        assert before.rgb == kept


@pytest.mark.parametrize("mode", ["P", "PA", "L", "LA", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_the_caller_s_image_is_not_changed(mode):
    image = photo().convert("L").convert(mode) if mode in ("I;16", "F") else photo().convert(mode)
    image.info = {"exif": exif(6), "icc_profile": rgb_profile(DISPLAY_P3), "comment": "mine"}
    before, info = image.copy(), dict(image.info)
    load_image(image)
    assert image == before
    assert image.info == info


def test_the_palette_of_the_caller_s_image_is_not_changed():
    image = photo().convert("P")
    image.info["transparency"] = bytes(256)
    assert load_image(image).alpha.getextrema() == (0, 0)
    del image.info["transparency"]
    assert image.convert("RGBA").getchannel("A").getextrema() == (255, 255)


def test_a_closed_image_is_refused_in_one_line():
    image = Image.open(io.BytesIO(saved(photo(), "PNG")))
    image.close()
    with pytest.raises(InvalidImage, match=r"^broken PIL picture"):
        load_image(image)


# ---- Limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda size: Image.new("L", size),
        lambda size: saved(Image.new("L", size), "PNG"),
        lambda size: np.zeros(size[::-1], np.uint8),
    ],
)
def test_a_picture_at_the_limits_passes_and_one_pixel_more_does_not(make):
    limits = Limits(max_pixels=60, max_side=20)
    assert load_image(make((20, 3)), limits).size == (20, 3)
    with pytest.raises(ImageTooLarge, match=r"^21 × 1 pixels: a side may have 20$"):
        load_image(make((21, 1)), limits)
    with pytest.raises(ImageTooLarge, match=r"^1 × 21 pixels: a side may have 20$"):
        load_image(make((1, 21)), limits)
    with pytest.raises(ImageTooLarge, match=r"^16 × 4 pixels: a picture may have 60$"):
        load_image(make((16, 4)), limits)


def test_a_file_at_the_limit_passes_and_one_byte_more_does_not(tmp_path):
    content = saved(photo(), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    for data in (content, bytearray(content), memoryview(content), path):
        assert load_image(data, Limits(max_bytes=len(content))).size == (48, 32)
        with pytest.raises(ImageTooLarge, match=rf"more than {len(content) - 1:,} bytes"):
            load_image(data, Limits(max_bytes=len(content) - 1))


@pytest.mark.parametrize("size", [(1, 1), (1, 16384), (16384, 1), (2, 3)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF"])
def test_extreme_shapes_are_fine(kind, size):
    assert load_image(saved(Image.new("L", size, 255), kind)).size == size


def bit_png(side: int) -> bytes:
    squeeze = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND")


def test_the_12000_by_12000_bomb_is_refused_and_no_setting_of_pillow_is_touched():
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageTooLarge, match=r"^12000 × 12000 pixels: a picture may have 50,000,000$"):
        load_image(bit_png(12000))
    assert before == Image.MAX_IMAGE_PIXELS


@functools.cache
def huge_headers() -> dict[str, bytes]:
    """Files that declare pictures far beyond the limits, by name."""
    side = 2**31 - 1
    jpeg = bytearray(saved(Image.new("L", (8, 8)), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff" * 4
    webp = bytearray(saved(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP", exif=exif(1)))
    at = webp.index(b"VP8X") + 12
    webp[at : at + 6] = struct.pack("<I", 16382)[:3] * 2
    gif = bytearray(saved(Image.new("L", (8, 8)), "GIF"))
    gif[6:10] = b"\xff" * 4
    bmp = bytearray(saved(Image.new("L", (8, 8)), "BMP"))
    bmp[18:26] = struct.pack("<II", side, side)
    deep = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: side, 279: 9}
    tile = 60_000
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 0, 325: 9}
    return {
        "png 30000": bit_png(30000),
        "png": png(side, side, 8, 6, b""),
        "jpeg": bytes(jpeg),
        "webp": bytes(webp),
        "gif": bytes(gif),
        "bmp": bytes(bmp),
        "tiff": tiff(deep, bytes(9)),
        "tile": tiff(tags, zlib.compress(bytes(9))),
    }


@pytest.mark.parametrize("name", ["png 30000", "png", "jpeg", "webp", "gif", "bmp", "tiff", "tile"])
def test_huge_pictures_are_refused_by_their_header(name):
    with pytest.raises(ImageTooLarge):
        load_image(huge_headers()[name])


# Linux keeps the peak of a process from its start; `ru_maxrss` would begin with that of the parent.
PEAK = """
import pathlib, re, sys, time
from u2net.errors import InvalidImage
from u2net.images.load import load_image

def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

start = peak_mb()
for path in sys.stdin.read().splitlines():
    began = time.perf_counter()
    try:
        picture = load_image(path)
        picture.view()
        outcome = "x".join(map(str, picture.size))
    except InvalidImage as error:
        outcome = f"{type(error).__name__}: {error}"
    print(f"{path}\\t{time.perf_counter() - began}\\t{peak_mb() - start}\\t{outcome}")
"""


def loaded_in_a_process_of_their_own(paths: list[Path]) -> list[tuple[Path, float, float, str]]:
    """(path, seconds, peak of memory so far in MB, outcome) for each file."""
    names = "\n".join(map(str, paths))
    command = [sys.executable, "-W", "ignore", "-c", PEAK]
    done = subprocess.run(command, input=names, capture_output=True, text=True, check=True, timeout=600)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [(Path(path), float(seconds), float(peak), outcome) for path, seconds, peak, outcome in rows]


@needs_proc
def test_huge_pictures_take_no_memory(tmp_path):
    for name, content in huge_headers().items():
        (tmp_path / name).write_bytes(content)
    for path, _, peak, outcome in loaded_in_a_process_of_their_own(sorted(tmp_path.iterdir())):
        assert outcome.startswith("ImageTooLarge"), path.name
        assert peak < 50, path.name


def test_a_jpeg_of_too_many_passes_is_refused():
    jpeg = saved(photo(), "JPEG", progressive=True)
    last_pass = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    assert load_image(jpeg[:-2] + last_pass * 20 + jpeg[-2:]).size == (48, 32)
    with pytest.raises(ImageTooLarge, match="more than 100 scans"):
        load_image(jpeg[:-2] + last_pass * 100 + jpeg[-2:])


def test_what_only_looks_like_passes_of_a_jpeg_does_not_count():
    jpeg = saved(photo(), "JPEG", comment=b"\xff\xda" * 200)
    assert load_image(jpeg + b"\0\0" + b"\xff\xda\0\2" * 200).size == (48, 32)


# ---- Broken files --------------------------------------------------------------------------------------------

SMALL = {
    "JPEG": saved(photo(24, 16), "JPEG", quality=60),
    "PNG": saved(photo(24, 16), "PNG"),
    "WEBP": saved(photo(24, 16), "WEBP", quality=60),
}


def decodes(content: bytes) -> bool:
    """Whether it is decoded; if it is refused, then in one clean line."""
    try:
        reason = None
        load_image(content)
    except InvalidImage as error:
        reason = str(error)
    assert reason is None or re.fullmatch(r"[^\n<>/\\]{5,120}", reason)
    return reason is None


@pytest.mark.parametrize("kind", SMALL)
def test_every_prefix_of_a_file_is_decoded_or_refused(kind):
    content = SMALL[kind]
    whole = [length for length in range(len(content) + 1) if decodes(content[:length])]
    # All that may be missing is what follows the pixels in a PNG: Adler's sum, CRC and IEND.
    assert whole == list(range(whole[0], len(content) + 1))
    assert len(whole) <= (21 if kind == "PNG" else 1)


def mutants(content: bytes, number: int):
    random = np.random.default_rng(20)
    for _ in range(number):
        mutant = bytearray(content)
        for bit in random.integers(0, 8 * len(content), random.integers(1, 9)):
            mutant[bit // 8] ^= 1 << (bit % 8)
        yield bytes(mutant)


@pytest.mark.parametrize("number", [300, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", SMALL)
def test_flipped_bits_are_decoded_or_refused(kind, number):
    assert sum(decodes(mutant) for mutant in mutants(SMALL[kind], number)) > 0


def test_flipped_bits_of_a_profile_are_decoded_or_refused():
    for mutant in mutants(rgb_profile(DISPLAY_P3), 100):
        image = photo(4, 4)
        image.info["icc_profile"] = mutant
        assert load_image(image).view().mode == "RGB"


def test_a_truncated_picture_is_refused_in_words():
    with pytest.raises(InvalidImage, match=r"^broken JPEG picture: image file is truncated"):
        load_image(SMALL["JPEG"][:-40])


RAISED = [OSError, ValueError, TypeError, SyntaxError, struct.error, EOFError, IndexError, KeyError, AttributeError]
RAISED += [ZeroDivisionError, OverflowError, RecursionError, zlib.error, AssertionError]
RAISED += [NotImplementedError, RuntimeError, Image.DecompressionBombError, UnicodeError]


@pytest.mark.parametrize("method", ["_open", "load"])
@pytest.mark.parametrize("kind", RAISED)
def test_whatever_pillow_raises_becomes_one_clean_line(kind, method, monkeypatch):
    def fail(self):
        raise kind("cannot read <_io.BytesIO object at 0x7f> in\n/srv/secret")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, method, fail)
    assert not decodes(SMALL["PNG"])


@pytest.mark.parametrize("method", ["_open", "load"])
def test_too_little_memory_is_not_taken_for_a_broken_picture(method, monkeypatch):
    def fail(self):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, method, fail)
    with pytest.raises(NotEnoughRoom, match=r"^not enough memory to decode the PNG picture$"):
        load_image(SMALL["PNG"])


def test_an_interrupt_passes(monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_image(SMALL["PNG"])


def remarkable(kind: str) -> bytes:
    """A picture to be turned left, with metadata on which Pillow remarks by a warning."""
    entries = struct.pack("<HHII", 0x010E, 2, 500, 9999) + struct.pack("<HHIHH", 0x0112, 3, 1, 8, 0)
    return saved(photo(), kind, exif=b"Exif\0\0II*\0\x08\0\0\0\2\0" + entries + bytes(4))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_remarks_of_pillow_do_not_refuse_a_picture_nor_hide_its_orientation(kind):
    with pytest.warns(UserWarning, match="Skipping tag 270"):
        reopened(remarkable(kind)).getexif()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(remarkable(kind)).size == (32, 48)


def test_one_thread_at_a_time_changes_the_filters_of_warnings(monkeypatch):
    before, both_failed = list(warnings.filters), threading.Barrier(2)
    failed, inside, crowds = set(), set(), []

    def decode(data, limits):
        if data not in failed:
            failed.add(data)
            both_failed.wait(timeout=10)
            raise UserWarning
        inside.add(data)
        crowds.append(len(inside))
        time.sleep(0.02)
        inside.remove(data)
        return data

    monkeypatch.setattr(u2net.images.load, "_decode", decode)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(load_image, [b"one", b"two"])) == [b"one", b"two"]
    assert crowds == [1, 1]
    assert warnings.filters == before


def test_pillow_s_switch_for_truncated_files_is_left_alone():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_the_module_s_limits_are_the_promised_ones():
    assert Limits(50_000_000, 16_384, 25 * 1024 * 1024, 4 * 1024 * 1024) == u2net.images.load.LIMITS


# ---- The corpus of odd and broken files ----------------------------------------------------------------------

CORPUS = Path(os.environ.get("U2NET_DATA", "missing")) / "badimages"

# Pillow opens these and we do not, because of:
REFUSED = {
    # formats off the list
    "bitdepth/Pillow__hopper_16bit.pgm": "UnsupportedFormat",
    "bitdepth/Pillow__hopper_1bit.pbm": "UnsupportedFormat",
    "animated/Pillow__hopper.fli": "UnsupportedFormat",
    "tiny/small__jpeg2.jp2": "UnsupportedFormat",
    "wrong_type/Pillow__hopper.dcx": "UnsupportedFormat",
    "wrong_type/Pillow__hopper.fits": "UnsupportedFormat",
    "wrong_type/Pillow__hopper.spider": "UnsupportedFormat",
    "wrong_type/Pillow__python.ico": "UnsupportedFormat",
    # 144 megapixels in 17.6 KB
    "generated/generated__bomb_12000x12000_1bit.png": "ImageTooLarge",
    # 65,500 pixels on a side
    "generated/generated__strip_65500x1.png": "ImageTooLarge",
    "generated/generated__strip_1x65500.png": "ImageTooLarge",
}


@needs_proc
@pytest.mark.skipif(not CORPUS.is_dir(), reason="U2NET_DATA names no folder that holds badimages/")
def test_the_corpus_is_decoded_or_refused_in_time_and_memory():
    with (CORPUS / "manifest.csv").open(newline="") as file:
        expected = {row["file"]: row["pillow_default"] for row in csv.DictReader(file)}
    rows = loaded_in_a_process_of_their_own([CORPUS / name for name in expected])
    assert len(rows) == len(expected)
    refused = {}
    for path, seconds, peak, outcome in rows:
        name = path.relative_to(CORPUS).as_posix()
        assert seconds <= 5, name
        assert peak <= 300, name
        assert len(outcome) < 150, name
        if expected[name].startswith("ok") and not re.fullmatch(r"\d+x\d+", outcome):
            refused[name] = outcome.partition(":")[0]
    assert refused == REFUSED


@pytest.mark.parametrize(
    "flood",
    [b"\xff\xd8" + b"\xff\xe5\x00\x02" * 100_000, b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff" * 2_000_000],
    ids=["segments", "fill"],
)
def test_floods_of_jpeg_segments_are_refused_before_they_are_walked(flood):
    with pytest.raises(ImageTooLarge, match="segments"):
        load_image(flood)


def test_only_the_first_of_many_colour_profiles_is_looked_at(monkeypatch):
    opened = []
    real = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda: opened.append(1) or real())
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"nonsense"))
    load_image(png(1, 1, 8, 2, b"\0\1\2\3", *[profile] * 50))
    assert len(opened) == 1


# ---- What is stored ------------------------------------------------------------------------------------------

STORED = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_palettes_and_greys_are_read_as_they_are_stored(kind):
    grey = Image.fromarray(STORED)
    one_colour = Image.fromarray(STORED)
    one_colour.putpalette([9, 9, 9] * 256)
    for image in (grey, one_colour):
        content = saved(image, kind, **({"optimize": False} if kind == "GIF" else {}))
        with reopened(content) as stored:
            np.testing.assert_array_equal(load_stored(content), np.asarray(stored))
    if kind != "GIF":  # whose writer gives colours new numbers
        np.testing.assert_array_equal(load_stored(content), STORED)


@pytest.mark.parametrize(
    ("depth", "packed", "numbers"),
    [(1, 0b01100000, [0, 1, 1]), (2, 0b00011011, [0, 1, 2, 3]), (4, 0x2F, [2, 15]), (8, 200, [200])],
)
@pytest.mark.parametrize("colour", [0, 3], ids=["grey", "palette"])
def test_few_bits_are_not_stretched(depth, packed, numbers, colour):
    palette = [chunk(b"PLTE", bytes(3 * 2**depth))] if colour == 3 else []
    content = png(len(numbers), 1, depth, colour, bytes([0, packed]), *palette)
    assert load_stored(content).tolist() == [numbers]


def test_sixteen_bits_are_read_as_long_as_eight_would_do():
    np.testing.assert_array_equal(load_stored(saved(Image.fromarray(STORED.astype(np.uint16)), "PNG")), STORED)
    with pytest.raises(InvalidImage, match="255 at most, the picture stores 510"):
        load_stored(saved(Image.fromarray(STORED.astype(np.uint16) * 2), "PNG"))


def test_what_is_stored_is_turned_upright():
    turned = load_stored(saved(Image.fromarray(STORED), "PNG", exif=exif(6)))
    np.testing.assert_array_equal(turned, np.rot90(STORED, -1))


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "LA"), ("PNG", "RGBA"), ("JPEG", "L"), ("WEBP", "L"), ("TIFF", "F")]
)
def test_what_stores_no_indices_is_refused_in_one_line(kind, mode):
    with pytest.raises(InvalidImage, match="stores no indices") as caught:
        load_stored(saved(Image.new(mode, (4, 3)), kind))
    assert "\n" not in str(caught.value)


def test_limits_hold_for_what_is_stored():
    content = saved(Image.fromarray(STORED), "PNG")
    for limits in (Limits(max_pixels=5), Limits(max_side=2), Limits(max_bytes=20)):
        with pytest.raises(ImageTooLarge):
            load_stored(content, limits)
    with pytest.raises(InvalidImage):
        load_stored(content[:45])
