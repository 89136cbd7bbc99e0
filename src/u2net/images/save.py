"""From a PIL image to encoded bytes, a file, or the kind of thing that the input was."""

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, features
from PIL.TiffImagePlugin import PREDICTOR

from u2net.errors import ImageTooLarge, InvalidImage, UnsupportedFormat
from u2net.images import Format
from u2net.images.exif import with_resolution
from u2net.images.limits import Stream
from u2net.images.png import to_png
from u2net.images.tiff import to_tiff
from u2net.system.files import atomic_write

# The longest side a format holds, and how it is written. JPEG's own limit is 65,535; libjpeg stops at 65,500.
_WRITERS: dict[Format, tuple[str, int, dict[str, Any]]] = {
    "png": ("PNG", 2**31 - 1, {}),
    # Method 2 takes half the time of the usual 4 for a file 2 to 5 % larger.
    "webp": ("WebP", 16_383, {"quality": 90, "alpha_quality": 100, "method": 2}),
    "jpg": ("JPEG", 65_500, {"quality": 92}),
    # Speed 8 of 0 to 10 takes a third of the usual 6's time for a file 7 to 12 % larger.
    "avif": ("AVIF", 65_536, {"quality": 80, "speed": 8}),
    # Deflated differences from pixel to pixel (see `_with_differences`): what every reader of TIFF knows.
    "tiff": ("TIFF", 2**31 - 1, {"compression": "tiff_adobe_deflate"}),
}
LOSSY = ("webp", "jpg", "avif")
"""The formats whose files are the smaller the less exact they are."""
SUFFIXES: dict[str, Format] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".avif": "avif",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""The format that a file name asks for."""


def same_kind(
    data: object,
    image: Image.Image | NDArray[np.uint16],
    icc_profile: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes | Image.Image | NDArray[np.uint8 | np.uint16]:
    """Give `image` as the kind of thing `data` is: bytes of PNG for bytes or a file, an array for an array, else PIL.

    Of 16 bits, uint16, there are bytes of TIFF for bytes, and else the array itself. The array of 8 bits is uint8,
    (H, W) or (H, W, C), writable; arrays cannot carry a profile. The PIL image is `image` itself, with nothing in its
    `info` but profile and `dpi`, pixels per inch.
    """
    if isinstance(data, bytes | bytearray | memoryview | Stream):
        return encode(image, "tiff" if isinstance(image, np.ndarray) else "png", icc_profile, dpi=dpi)
    if isinstance(image, np.ndarray):
        return image
    if isinstance(data, np.ndarray):
        return np.array(image)
    known = {"icc_profile": icc_profile, "dpi": dpi}
    image.info = {name: value for name, value in known.items() if value}
    return image


def encode(
    image: Image.Image | NDArray[np.uint16],
    format: Format,  # noqa: A002
    icc_profile: bytes | None = None,
    *,
    png_level: int = 1,
    quality: int | None = None,
    alpha_quality: int | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Encode an image in mode L, LA, RGB or RGBA, or for TIFF uint16 (H, W) or (H, W, 4), straight RGBA.

    No metadata is written but `icc_profile`, `exif`, and `dpi`, pixels per inch across and down; WebP and AVIF know
    `dpi` as Exif data alone.

    `png_level` is 1, fast, to 9, slow and small. `quality`, 1 to 100, is of the colours of a lossy format, and
    `alpha_quality`, 0 to 100, of WebP's transparency, which is exact otherwise; None is the format's own (`_WRITERS`).
    Raises `InvalidImage` for transparency in JPEG, `ImageTooLarge` for a side that the format cannot hold,
    `UnsupportedFormat` for other formats and for AVIF where Pillow lacks it.
    """
    if format not in _WRITERS:
        raise UnsupportedFormat(f"can write {', '.join(_WRITERS)} only")
    if isinstance(image, np.ndarray):
        if format != "tiff":
            raise UnsupportedFormat(f"16 bits per channel are written as tiff, not as {format}")
        return to_tiff(image, icc_profile, with_resolution(exif, dpi))
    if format == "avif" and not features.check("avif"):
        raise UnsupportedFormat("this Pillow writes no AVIF: choose WebP or PNG")
    name, max_side, options = _WRITERS[format]
    if max(image.size) > max_side:
        raise ImageTooLarge(f"{name} holds {max_side:,} pixels a side, not {max(image.size):,}: choose PNG")
    if format == "jpg" and image.has_transparency_data:
        if image.mode != "RGBA" or image.getchannel("A").getextrema() != (255, 255):
            raise InvalidImage("JPEG has no transparency: give a background colour, or choose PNG or WebP")
        image = image.convert("RGB")
    # A profile of RGB says nothing about the values of a grey mask.
    if image.mode not in ("RGB", "RGBA"):
        icc_profile = None
    if format == "png":
        return to_png(image, icc_profile, png_level, exif, dpi)
    if image.info:
        image = image.copy()
        image.info = {}
    if dpi is not None and format != "jpg":
        exif = with_resolution(exif, dpi)
    camera = _with_differences(exif) if format == "tiff" else exif
    asked: dict[str, Any] = {"quality": quality, "alpha_quality": alpha_quality, "exif": camera}
    if format == "jpg" and dpi is not None and max(dpi) < 2**16:
        asked["dpi"] = dpi
    options = options | {key: value for key, value in asked.items() if value is not None}
    buffer = BytesIO()
    image.save(buffer, name, icc_profile=icc_profile, **options)
    return buffer.getvalue()


def save_image(
    image: Image.Image,
    path: str | os.PathLike[str],
    icc_profile: bytes | None = None,
    format: Format | None = None,  # noqa: A002
    **options: Any,
) -> None:
    """Encode to a file: the whole picture appears under `path`, or nothing changes.

    The format follows the suffix (`SUFFIXES`) unless given. `options` are those of `encode`. Raises what it does, and
    `OSError`.
    """
    path = Path(os.path.realpath(path))
    format = format or SUFFIXES.get(path.suffix.lower())  # noqa: A001
    if format is None:
        raise UnsupportedFormat(f"cannot tell the format from the name: end it in {', '.join(SUFFIXES)}")
    save_bytes(encode(image, format, icc_profile, **options), path)


def save_bytes(content: bytes, path: str | os.PathLike[str], *, follow: bool = True) -> None:
    """Write a file: the whole of it appears under `path`, or nothing changes. Raises OSError.

    A link that the user named is written through, as cp does; without `follow` it is replaced.
    """
    path = Path(os.path.realpath(path) if follow else path)
    if follow and path.exists() and not path.is_file():
        # To rename onto /dev/stdout would remove it.
        path.write_bytes(content)
        return
    with atomic_write(path) as file:
        file.write(content)


def _with_differences(exif: bytes | None) -> Image.Exif:
    """The tags of a TIFF file, which are Exif's own; those of exposure and place lie in tables that libtiff refuses."""
    tags = Image.Exif()
    if exif is not None:
        tags.load(exif)
        for table in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags.pop(table, None)
    tags[PREDICTOR] = 2
    return tags
