"""The formats that are read: how a file of each begins, and what opens it without decoding its pixels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO

from PIL import Image, ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import (
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    TILELENGTH,
    TILEWIDTH,
    ImageFileDirectory_v2,
    TiffImageFile,
)
from PIL.WebPImagePlugin import WebPImageFile

from u2net.errors import ImageTooLarge, InvalidImage, NotEnoughRoom, UnsupportedFormat
from u2net.images.boxes import check_boxes
from u2net.images.limits import Limits, check_num_bytes, check_size
from u2net.images.metadata import (
    PNM_OF_TEXT,
    Header,
    bare_jpeg,
    bare_png,
    check_chunks,
    check_segments,
    check_tags,
    has_sane_tags,
    without_comments,
)


def _heif_reader() -> Callable[[BytesIO], ImageFile.ImageFile]:
    """What opens HEIC, of telephones for example. Raises UnsupportedFormat without pillow-heif."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise UnsupportedFormat("a HEIC picture needs: pip install 'u2net[heif]'") from None
    return HeifImageFile


def _jpeg_2000(_file: BytesIO) -> ImageFile.ImageFile:
    """Raises UnsupportedFormat: a file of a kilobyte, with tiles or precincts of a pixel, takes gigabytes to decode."""
    raise UnsupportedFormat("a JPEG 2000 picture is not read: save it as PNG or TIFF")


# Pillow's class for each format is called directly. Image.open would check the size against a limit of its own,
# and warn: warnings cannot be caught in one thread alone.
_READERS: dict[str, tuple[bytes, Callable[[BytesIO], ImageFile.ImageFile]]] = {
    "JPEG": (rb"\xff\xd8\xff", JpegImageFile),
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImageFile),
    "WebP": (rb"RIFF....WEBP", WebPImageFile),
    "BMP": (rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", BmpImageFile),
    "GIF": (rb"GIF8[79]a", GifImageFile),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", TiffImageFile),
    "AVIF": (rb"....ftyp(avif|avis|(mif1|msf1).{0,40}avi[fs])", AvifImageFile),
    "HEIC": (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", lambda file: _heif_reader()(file)),
    "JPEG 2000": (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _jpeg_2000),
    "PNM": (rb"P[1-6]\s(?:\s|#[^\n]*\n)*+[0-9]", PpmImageFile),
}

_DNG_VERSION = 50_706  # a tag of Adobe's Digital Negative; what a TIFF reader finds in one is a small preview
_IEEE_FLOATS = 3
_SLOW = ("bmp_rle", "ppm_plain", "ppm")
"""What Pillow decodes in Python, a megabyte a second: compressed BMP, PNM as text, and of other levels than 8 bits."""

HEAD = 256
"""Bytes of a file's beginning that `kind_of` needs."""

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("avif", "bmp", "gif", "heic", "heif", "hif", "j2k", "jfif", "jp2", "jpe", "jpeg", "jpg", "mpo"),
        *("pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp"),
    )
)
"""File names that are taken for pictures in a folder; whether they are is told by their content."""


def kind_of(head: bytes) -> str | None:
    """The name of the format of a file that begins so, "JPEG" for example; None if it is no picture."""
    return next((name for name, (start, _) in _READERS.items() if re.match(start, head, re.DOTALL)), None)


def holds_more(data: bytes) -> bool:
    """Whether a JPEG, PNG, WebP or BMP picture is followed by another, as in a pipe that several wrote to.

    What else may follow, such as the film of a telephone's moving picture, is none.
    """
    kind, end = kind_of(data[:HEAD]), None
    if kind == "JPEG" and b"MPF\0" not in data[: 2**16]:  # where a file of several pictures lists them
        with suppress(ImageTooLarge):  # what is refused by itself needs no other reason
            end = check_segments(data)
    elif kind == "PNG":
        end = data.find(b"IEND") + 8
    elif kind == "WebP":
        end = 8 + (int.from_bytes(data[4:8], "little") + 1) // 2 * 2
    elif kind == "BMP":
        end = int.from_bytes(data[2:6], "little")
    return end is not None and kind_of(data[end : end + HEAD]) is not None


def open_header(data: bytes | bytearray | memoryview, limits: Limits) -> tuple[str, ImageFile.ImageFile]:
    """Read the header: the name of the format, and an image whose pixels are still to be decoded."""
    check_num_bytes(memoryview(data).nbytes, limits)
    data = bytes(data)
    name = kind_of(data[: 2**16])
    if name is None:
        raise UnsupportedFormat("not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, HEIC or PNM picture")
    profile, bits = None, None
    of_slow = replace(limits, max_bytes=limits.max_bytes // 8)
    if name == "JPEG":
        check_segments(data)
        data = bare_jpeg(data)
    elif name == "PNG":
        data, profile, bits = bare_png(data, limits.max_icc_bytes)
    elif name == "TIFF":
        check_tags(data)
    elif name == "WebP":
        check_chunks(data)
    elif name in ("AVIF", "HEIC"):
        if name == "HEIC":
            _heif_reader()
        check_boxes(data, limits)
    elif name == "PNM" and data[:2] in PNM_OF_TEXT:
        check_num_bytes(len(data), of_slow)
        data = without_comments(data)
    file = Header(data)
    with one_line_errors(name):
        try:
            image = _READERS[name][1](file)
        except SyntaxError:
            if name == "TIFF" and _has_float_colors(data):
                raise UnsupportedFormat("a TIFF picture of colours as floats: save it in 8 or 16 bits") from None
            raise
        finally:
            file.done()
        if name == "WebP" and not has_sane_tags(image.info.get("exif", b"")):
            del image.info["exif"]
        if image.tile and image.tile[0].codec_name in _SLOW:
            check_num_bytes(len(data), of_slow)
        if profile:
            image.info["icc_profile"] = profile
        if bits is not None:
            image.info["significant_bits"] = bits
        if isinstance(image, PngImageFile) and "transparency" in image.info and image.tile:
            # Pillow brings the pixels to 8 bits, but leaves the transparent colour at the depth of the file.
            colour, rawmode = image.info["transparency"], image.tile[0].args
            if rawmode in ("L;2", "L;4"):
                image.info["transparency"] = colour * (85 if rawmode == "L;2" else 17)
            elif rawmode == "RGB;16B":
                image.info["transparency"] = tuple(value >> 8 for value in colour)
        if isinstance(image, TiffImageFile) and _DNG_VERSION in image.tag_v2:
            raise UnsupportedFormat("a camera's raw picture: develop it first")
        if isinstance(image, TiffImageFile) and TILEWIDTH in image.tag_v2:
            # libtiff decodes the whole of a tile, however little of it is in the picture.
            check_size((image.tag_v2[TILEWIDTH], image.tag_v2[TILELENGTH]), limits)
    return name, image


def _has_float_colors(tiff: bytes) -> bool:
    """Whether a TIFF file that Pillow knows no mode for has floats in more than one channel."""
    file, tags = BytesIO(tiff), ImageFileDirectory_v2(tiff[:8])
    file.seek(tags.next)
    tags.load(file)
    return tags.get(SAMPLESPERPIXEL, 1) > 1 and set(tags.get(SAMPLEFORMAT, ())) == {_IEEE_FLOATS}


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turn what Pillow's parsers raise on broken files, which is almost any exception, into `InvalidImage`."""
    try:
        yield
    except (InvalidImage, Warning):
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the {name} picture has more pixels than Pillow decodes") from error
    except MemoryError as error:
        raise NotEnoughRoom(f"not enough memory to decode the {name} picture") from error
    except Exception as error:
        # These classes carry words meant for people, unless they quote bytes, a path or an object.
        human = isinstance(error, OSError | SyntaxError | ValueError)
        reason = f": {error}" if human and re.fullmatch(r"[\w ,.:;()'-]{1,100}", str(error), re.ASCII) else ""
        raise InvalidImage(f"broken {name} picture{reason}") from error
