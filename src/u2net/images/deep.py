"""Pictures of 16 bits per channel.

Pillow decodes no more than 8 of a picture's bits. Where a TIFF file holds 16, tifffile reads them, after Pillow has
decoded the file within all limits.
"""

from __future__ import annotations

import enum
import logging
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, SAMPLEFORMAT, TiffImageFile

from u2net.errors import ImageTooLarge, InvalidImage, MissingExtra
from u2net.images.color import to_srgb
from u2net.images.load import LIMITS, ImageData, Limits, load_image, past_warnings, read_encoded
from u2net.images.picture import Picture

if TYPE_CHECKING:
    from tifffile import TiffPage

Levels = NDArray[np.uint16]

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # whoever logs nothing has its remarks on stderr else

DEEP_LIMITS = replace(LIMITS, max_bytes=8 * LIMITS.max_pixels + 2**24)
"""`LIMITS`, for files that hold up to 8 bytes a pixel, and as much as that where nothing is compressed."""

_OPAQUE = 65_535
_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RGB, _UNSIGNED, _INTERLEAVED, _ASSOCIATED, _UNASSOCIATED = 2, 1, 1, 1, 2
_DEFLATE = (8, 32_946)
_BAND = 256  # rows that are computed with at once: what they are made of is small beside the picture
_BUFFER = 2**24  # bytes of a file that tifffile holds at once, besides what it makes of them
_PIECE = 2**16  # bytes of a stream that are looked through at once


@dataclass(frozen=True)
class DeepPicture:
    """One upright picture in 65,536 levels, and the same in 256."""

    picture: Picture
    """In 8 bits: what the network sees, and what is as deep as it needs to be."""
    rgb: Levels
    """(H, W, 3): straight colours in the space of `icc_profile`."""
    alpha: Levels | None
    """(H, W): the transparency of the input. None if it is opaque everywhere."""
    icc_profile: bytes | None
    """The RGB profile that `rgb` is in: the file's own even where it is sRGB. None means sRGB."""


def load_deep(data: ImageData | Picture, limits: Limits = DEEP_LIMITS) -> DeepPicture:
    """Decode a picture as `load_image` does, with the 16 bits of a TIFF file of RGB or RGBA, or of a uint16 array.

    All other pictures have 8 bits, and 257 for each level of these. Raises what `load_image` does, InvalidImage for
    16 bits that are compressed otherwise than by deflate, and MissingExtra for 16 bits of a file without tifffile.
    """
    if isinstance(data, Picture):
        return _deepened(data)
    if isinstance(data, str | os.PathLike):
        data = read_encoded(data, limits)
    picture = load_image(data, limits)
    if isinstance(data, bytes | bytearray | memoryview) and bytes(data[:4]) in _STARTS:
        content = bytes(data)
        return past_warnings(lambda: _from_tiff(content, picture, limits))
    if isinstance(data, np.ndarray) and data.dtype == np.uint16 and data.ndim == 3 and data.shape[2] in (3, 4):
        return _deep(picture, data.astype(np.uint16, copy=False), picture.icc_profile)
    return _deepened(picture)


def shallow(levels: Levels) -> NDArray[np.uint8]:
    """The nearest of 256 levels for each of 65,536, in an array of any shape."""
    nearest = np.empty(levels.shape, dtype=np.uint8)
    for top in range(0, len(levels), _BAND):
        nearest[top : top + _BAND] = (levels[top : top + _BAND].astype(np.uint32) + 128) // 257
    return nearest


def deepen(levels: NDArray[np.uint8]) -> Levels:
    """Of 65,536 levels those that 256 stand for: 0 stays 0, and 255 becomes 65,535."""
    return levels * np.uint16(257)


def _deep(picture: Picture, channels: Levels, icc_profile: bytes | None) -> DeepPicture:
    """From straight (H, W, 3) or (H, W, 4). The 8 bits are made of these, as Pillow only cuts them off."""
    rgb, alpha = channels[:, :, :3], channels[:, :, 3] if channels.shape[2] == 4 else None
    if alpha is not None and (alpha == _OPAQUE).all():
        alpha = None
    return DeepPicture(replace(picture, rgb=Image.fromarray(shallow(rgb))), rgb, alpha, icc_profile)


def _deepened(picture: Picture) -> DeepPicture:
    alpha = None if picture.alpha is None else deepen(np.asarray(picture.alpha))
    return DeepPicture(picture, deepen(np.asarray(picture.rgb)), alpha, picture.icc_profile)


# ---- TIFF ----------------------------------------------------------------------------------------------------------


def _from_tiff(content: bytes, picture: Picture, limits: Limits) -> DeepPicture:
    with TiffImageFile(BytesIO(content)) as header:
        tags, profile = header.tag_v2, header.info.get("icc_profile")
    bits, kinds = tags.get(BITSPERSAMPLE, ()), tags.get(SAMPLEFORMAT, (_UNSIGNED,))
    if tags.get(PHOTOMETRIC_INTERPRETATION) != _RGB or set(bits) != {16} or set(kinds) != {_UNSIGNED}:
        return _deepened(picture)
    channels = _read(content, picture.size, limits)
    return _deep(picture, channels, picture.icc_profile or _checked(profile, limits))


def _checked(profile: object, limits: Limits) -> bytes | None:
    """A profile of RGB that does what sRGB does, which `Picture` has no need of; None for what is none."""
    if not isinstance(profile, bytes) or len(profile) > limits.max_icc_bytes or profile[16:20] != b"RGB ":
        return None
    try:
        to_srgb(profile, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return profile


def _read(content: bytes, size: tuple[int, int], limits: Limits) -> Levels:
    """The first picture of a TIFF file, upright, of this size: straight, (H, W, 3) or (H, W, 4)."""
    try:
        from tifffile import TiffFile
    except ImportError:
        raise MissingExtra("16 bits per channel of a TIFF picture need: pip install 'u2net[tiff]'") from None
    try:
        with TiffFile(BytesIO(content)) as file:
            page = file.pages.first
            _check(page, content, size, limits)
            pixels = page.asarray(buffersize=_BUFFER).astype(np.uint16, copy=False)
            kind = tuple(map(int, page.extrasamples)) or (_UNASSOCIATED,)
            turn = _TURNS.get(page.tags.valueof(int(ExifTags.Base.Orientation)))
            if page.planarconfig != _INTERLEAVED:
                pixels = np.moveaxis(pixels, 0, 2)
    except InvalidImage:
        raise
    except MemoryError as error:
        raise InvalidImage("not enough memory to decode the TIFF picture") from error
    except Exception as error:  # almost any, of what strangers wrote
        raise InvalidImage("broken TIFF picture") from error
    if kind == (_ASSOCIATED,):
        _divide(pixels)
    elif kind != (_UNASSOCIATED,):
        pixels = pixels[:, :, :3]
    if turn is not None:
        pixels = turn(pixels)
    if pixels.shape[1::-1] != size:
        raise InvalidImage("broken TIFF picture: its sizes differ")
    return pixels


_TURNS: dict[object, Callable[[Levels], Levels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
"""What makes a picture upright, by its orientation (TIFF 6.0, page 36)."""


def _check(page: TiffPage, content: bytes, size: tuple[int, int], limits: Limits) -> None:
    """Refuse what tifffile would read otherwise than Pillow did, or without a limit."""
    if int(page.compression) not in (1, *_DEFLATE):
        name = page.compression.name if isinstance(page.compression, enum.Enum) else page.compression
        raise InvalidImage(f"16 bits compressed by {name} are not read: save the TIFF with ZIP, or uncompressed")
    width, height = page.imagewidth, page.imagelength
    sizes = (width, height) in (size, size[::-1]) and page.imagedepth == page.tiledepth == 1
    if not sizes or page.samplesperpixel not in (3, 4) or page.bitspersample != 16 or page.predictor not in (1, 2):
        raise InvalidImage("broken TIFF picture: its tags contradict each other")
    most = 2 * math.prod(page.chunks)
    if most > 8 * limits.max_pixels:
        raise ImageTooLarge(f"a part of the TIFF picture has {most:,} bytes")
    if int(page.compression) in _DEFLATE:
        for start, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            if _inflates_beyond(most, memoryview(content)[start : start + length]):
                raise InvalidImage("broken TIFF picture: a part of it holds more than its pixels")


def _inflates_beyond(most: int, deflated: memoryview) -> bool:
    """Whether there is more in a stream than so many bytes, with no more memory than a piece takes."""
    inflater = zlib.decompressobj()
    num_bytes = 0
    for start in range(0, len(deflated), _PIECE):
        pending: bytes | memoryview = deflated[start : start + _PIECE]
        while pending:
            num_bytes += len(inflater.decompress(pending, _PIECE))
            if num_bytes > most:
                return True
            pending = inflater.unconsumed_tail
    return False


def _divide(pixels: Levels) -> None:
    """Make colours straight, in place, that were multiplied by their alpha."""
    for top in range(0, len(pixels), _BAND):
        band = pixels[top : top + _BAND].astype(np.uint32)
        alpha = band[:, :, 3:]
        straight = (band[:, :, :3] * _OPAQUE + alpha // 2) // np.maximum(alpha, 1)
        pixels[top : top + _BAND, :, :3] = np.minimum(straight, _OPAQUE)
