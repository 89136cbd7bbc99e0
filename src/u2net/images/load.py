"""From bytes, a path, a PIL image or an array to an upright RGB picture."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, TiffImageFile

from u2net.errors import InvalidImage
from u2net.images.color import separate, stated_white, to_rgb, white_of_16_bits
from u2net.images.exif import tiff_exif
from u2net.images.formats import one_line_errors, open_header
from u2net.images.limits import LIMITS, LIMITS_16_BITS, Limits, Stream, check_size, own_limits, read_encoded
from u2net.images.picture import BitDepth, Picture, to_8_bits
from u2net.images.tiff import read_16_bits

Decoded = TypeVar("Decoded")

ImageData: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str] | Stream | Image.Image | np.ndarray

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIDEWAYS = {_UPRIGHT[5], _UPRIGHT[6], _UPRIGHT[7], _UPRIGHT[8]}

_warnings_lock = threading.Lock()


def load_image(data: ImageData | Picture, limits: Limits | None = None, bit_depth: BitDepth = 8) -> Picture:
    """Decode the first frame, turn it upright, separate colour from transparency.

    Paths, open files and bytes: JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, PNM (PPM, PGM, PBM) and, with the
    extra `heif`, HEIC, told by content. PIL images: any mode. Arrays: (H, W), or (H, W, C) with 1 (grey), 2 (grey,
    alpha), 3 (RGB) or 4 (RGBA) channels; bool, uint8, uint16, or float in [0, 1]. Nothing given is modified.

    With a `bit_depth` of 16 the picture has 16 bits per channel too: those of a TIFF file of RGB or RGBA, and of a
    uint16 array, (H, W, 3 or 4); of all else they are made of 8.

    Without `limits`, encoded bytes and open files, which may come from strangers, are held to `LIMITS` or
    `LIMITS_16_BITS`, and all else to `own_limits()`: what fits the memory.

    Greys of 12 and 16 bits are scaled to 8. The white level of 16 bits is 2ⁿ - 1, where n is what TIFF's
    MaxSampleValue says, or else the least of 8, 10, 12, 14 and 16 bits that hold all values: cameras and scanners of 10
    to 14 bits store them so. Greys of 32 bits ("I", "F") name no white level: it is the smallest of 1 (floats only),
    255, 65,535 and 2³¹ − 1 (integers only) that at most 1 % of the values exceed. NaN is black. Grey, CMYK and Lab
    become sRGB by their profile; RGB keeps its profile.

    Raises `UnsupportedFormat`, `ImageTooLarge` or `InvalidImage`, the last also for 16 bits that are compressed
    otherwise than by deflate, `MissingExtra` for 16 bits of a file without tifffile, and `OSError` for a path that
    cannot be read.
    """
    if isinstance(data, Picture):
        return data.in_bits(bit_depth)
    if limits is None and isinstance(data, bytes | bytearray | memoryview | Stream):
        limits = LIMITS_16_BITS if bit_depth == 16 else LIMITS
    limits = limits or own_limits()
    given = read_encoded(data, limits) if isinstance(data, str | os.PathLike | Stream) else data
    picture = _past_warnings(lambda: _decode(given, limits))
    return picture if bit_depth == 8 else _past_warnings(lambda: _with_16_bits(picture, given, limits))


def load_stored(data: bytes, limits: Limits = LIMITS) -> NDArray[np.uint8]:
    """The numbers that an encoded picture of one channel stores, upright, (H, W): indices of a palette, or greys.

    Nothing is stretched: greys of 1, 2 and 4 bits are 0 to 1, 3 and 15. Raises as `load_image` does for bytes, and
    `InvalidImage` for colours, a channel of transparency, numbers above 255, and JPEG, which keeps none exactly.
    """
    return _past_warnings(lambda: _decode_stored(data, limits))


def _past_warnings(decode: Callable[[], Decoded]) -> Decoded:
    """What a decoder gives, whatever it remarks. Raises what it does."""
    try:
        return decode()
    except Warning:
        # Where warnings are errors, Pillow's remarks on metadata would refuse pictures that decode. Filters are
        # the whole process's, so they are touched in this rare case only, and by one thread at a time.
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode()


def _decode(data: ImageData, limits: Limits) -> Picture:
    name = "PIL"
    if isinstance(data, np.ndarray):
        image = _from_array(np.asarray(data), limits)
    elif isinstance(data, Image.Image):
        image = data
    elif isinstance(data, bytes | bytearray | memoryview):
        name, image = open_header(data, limits)
    else:
        raise InvalidImage(
            f"cannot read a picture from {type(data).__name__}: give bytes, a path, an open file, PIL or array"
        )
    check_size(image.size, limits)
    with one_line_errors(name):
        camera = tiff_exif(image) if isinstance(image, TiffImageFile) else None  # of a file that is open till loaded
        has_16_bits, dpi = _has_16_bits(image), _resolution(image)
        is_turned = isinstance(image, TiffImageFile) and _turn(image) in _SIDEWAYS  # when it is loaded
        image.load()
        turn = _turn(image)
        if dpi and (is_turned or turn in _SIDEWAYS):
            dpi = dpi[::-1]
        if isinstance(image, PpmImageFile) and image.mode == "I":  # scaled to 16 bits, whatever the file's maximum
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        colour, alpha = separate(_scaled(image) if has_16_bits else image)
        rgb, icc_profile = to_rgb(colour, image.info.get("icc_profile"), limits.max_icc_bytes)
        if rgb is image:
            # The file's own image keeps decoder and metadata: a bare one takes over the pixels without a copy.
            rgb = image.copy() if image is data else image._new(image.im)
        if alpha is not None and alpha.getextrema() == (255, 255):
            alpha = None
        if turn is not None:
            rgb = rgb.transpose(turn)
            alpha = None if alpha is None else alpha.transpose(turn)
    for part in (rgb, alpha):
        if part is not None:
            part.info = {}
    exif = camera or image.info.get("exif")
    return Picture(rgb, alpha, icc_profile, exif if isinstance(exif, bytes) else None, dpi=dpi)


def _has_16_bits(image: Image.Image) -> bool:
    """Whether a file that is not decoded yet has colours of 16 bits per channel, of which Pillow keeps the upper 8."""
    if isinstance(image, TiffImageFile):
        return image.mode in ("RGB", "RGBA") and set(image.tag_v2.get(BITSPERSAMPLE, ())) == {16}
    return (
        isinstance(image, PngImageFile) and bool(image.tile) and str(image.tile[0].args).startswith(("RGB;", "RGBA;"))
    )


def _scaled(image: Image.Image) -> Image.Image:
    """Colours of 16 bits, cut to 8, as bright as they are if they were stored in the lower 10, 12 or 14 bits."""
    highest = int(np.asarray(image).max())
    white = white_of_16_bits(256 * highest + 255, stated_white(image))
    return image.point(lambda value: value * 255 / (white >> 8)) if 255 < white < 65_535 else image


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, across and down, if a file that is not decoded yet states them in its metadata."""
    try:
        if isinstance(image, TiffImageFile):
            tags = image.tag_v2
            if not {X_RESOLUTION, Y_RESOLUTION} <= set(tags) or tags.get(RESOLUTION_UNIT, 2) not in (2, 3):
                return None
        across, down = map(float, image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < across < 1e6 and 0 < down < 1e6):
        return None
    return across, down


def _with_16_bits(picture: Picture, data: ImageData, limits: Limits) -> Picture:
    channels, stated = None, None
    if isinstance(data, bytes | bytearray | memoryview):
        channels, profile, stated = read_16_bits(bytes(data), picture.size, limits)
        if channels is not None:
            picture = replace(picture, icc_profile=picture.icc_profile or profile)
    elif isinstance(data, np.ndarray) and data.dtype == np.uint16 and data.ndim == 3 and data.shape[2] >= 3:
        channels = np.asarray(data)
    if channels is None:
        return picture.in_bits(16)
    white = white_of_16_bits(int(channels.max()), stated)
    if white < 65_535:
        channels = ((channels.astype(np.uint32) * 65_535 + white // 2) // white).astype(np.uint16)
    rgb, alpha = channels[:, :, :3], channels[:, :, 3] if channels.shape[2] == 4 else None
    if alpha is not None and (alpha == 65_535).all():
        alpha = None
    # The 8 bits are made of these too: Pillow cuts off the lower ones.
    return replace(picture, rgb=Image.fromarray(to_8_bits(rgb)), rgb_16=rgb, alpha_16=alpha)


def _decode_stored(data: bytes, limits: Limits) -> NDArray[np.uint8]:
    name, image = open_header(data, limits)
    check_size(image.size, limits)
    if name == "JPEG" or image.mode not in ("1", "L", "P", "I;16", "I;16B"):
        raise InvalidImage(f"a {name} picture of mode {image.mode} stores no indices: use PNG, grey or with a palette")
    with one_line_errors(name):
        args = image.tile[0].args if image.tile else ""
        rawmode = str(args[0] if isinstance(args, tuple) else args)
        image.load()
        turn = _turn(image)
        stored = np.asarray(image if turn is None else image.transpose(turn))
    # Pillow stretches greys of 2 and 4 bits to fill 0 to 255.
    stored = stored // {"L;2": 85, "L;4": 17}.get(rawmode[:3], 1)
    if stored.max() > 255:
        raise InvalidImage(f"an index is 255 at most, the picture stores {stored.max()}")
    return stored.astype(np.uint8)


def _from_array(array: np.ndarray, limits: Limits) -> Image.Image:
    if not (array.ndim == 2 or (array.ndim == 3 and 1 <= array.shape[2] <= 4)):
        raise InvalidImage(f"an array must have the shape (H, W) or (H, W, 1 to 4), not {array.shape}")
    check_size((array.shape[1], array.shape[0]), limits)
    dtype = array.dtype.newbyteorder("=")
    if dtype == np.bool:
        array = array * np.uint8(255)
    elif dtype == np.uint16:
        white = white_of_16_bits(int(array.max()))
        array = ((array.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
    elif dtype.kind == "f":
        # Not `min < 0 or max > 1`: every comparison with NaN is false.
        if not (array.min() >= 0 and array.max() <= 1):
            raise InvalidImage("an array of floats must hold values in [0, 1] and no NaN")
        array = np.rint(np.multiply(array, 255, dtype=np.float32)).astype(np.uint8)
    elif dtype != np.uint8:
        raise InvalidImage(f"an array must be bool, uint8, uint16 or float in [0, 1], not {dtype.name}")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[2:] == (1,) else array))


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the image upright, by its EXIF. Ask after `load`: there Pillow turns TIFF by itself."""
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Warning:
        raise
    except Exception:
        return None
