"""TIFF of 16 bits per channel: Pillow reads 8 of them, and writes none.

tifffile reads them, after Pillow has decoded the file within all limits. It would write them too, but neither exposure
nor place, and in some six times the time: here strips of differences are deflated side by side.

TIFF Revision 6.0, Adobe 1992; Photoshop TIFF Technical Notes, Adobe 2002, for deflate.
"""

from __future__ import annotations

import enum
import logging
import math
import zlib
from collections.abc import Callable
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, TiffTags
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from u2net.errors import ImageTooLarge, InvalidImage, MissingExtra, NotEnoughRoom
from u2net.images.color import stated_white, to_srgb
from u2net.images.limits import Limits
from u2net.images.png import isal
from u2net.system.process import in_threads

if TYPE_CHECKING:
    from tifffile import TiffPage

Levels = NDArray[np.uint16]

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # without a handler its remarks go to stderr

_Tag = ExifTags.Base
_STRIP_BYTES = 2**20
_LEVEL = 2  # of ISA-L's 0 to 3, and of zlib's 1 to 9 where there is no ISA-L
_MAX_BYTES = 2**32 - 2**24  # offsets have 32 bits; what is left is for tags, and for noise that grows as it is deflated
_GREY, _RGB, _UNSIGNED, _INTERLEAVED, _ASSOCIATED, _UNASSOCIATED, _DIFFERENCES = 1, 2, 1, 1, 1, 2, 2
_DEFLATE, _DEFLATES = 8, (8, 32_946)
_ICC_PROFILE = int(_Tag.InterColorProfile)
_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BUFFER = 2**24  # bytes of a file that tifffile holds at once, besides what it makes of them
_PIECE = 2**16  # bytes of a stream that are inflated at once
_ROWS = 256  # that are computed with at once


# ---- Reading -------------------------------------------------------------------------------------------------------


def read_16_bits(
    content: bytes, size: tuple[int, int], limits: Limits
) -> tuple[Levels | None, bytes | None, int | None]:
    """The channels of a TIFF file that Pillow has decoded to `size`, its RGB profile, sRGB's too, and `stated_white`.

    Channels are upright and straight, (H, W, 3) or (H, W, 4); None of a file that is no TIFF of RGB in 16 bits. Raises
    InvalidImage, also for compressions other than deflate, and MissingExtra without tifffile.
    """
    if not content.startswith(_STARTS):
        return None, None, None
    with TiffImageFile(BytesIO(content)) as header:
        tags, profile, white = header.tag_v2, header.info.get("icc_profile"), stated_white(header)
    bits, kinds = tags.get(BITSPERSAMPLE, ()), tags.get(SAMPLEFORMAT, (_UNSIGNED,))
    if tags.get(PHOTOMETRIC_INTERPRETATION) != _RGB or set(bits) != {16} or set(kinds) != {_UNSIGNED}:
        return None, None, None
    return _read(content, size, limits), _checked(profile, limits), white


def _checked(profile: object, limits: Limits) -> bytes | None:
    """A profile if it is one of RGB, not too long nor broken."""
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
        raise NotEnoughRoom("not enough memory to decode the TIFF picture") from error
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
    if int(page.compression) not in (1, *_DEFLATES):
        name = page.compression.name if isinstance(page.compression, enum.Enum) else page.compression
        raise InvalidImage(f"16 bits compressed by {name} are not read: save the TIFF with ZIP, or uncompressed")
    width, height = page.imagewidth, page.imagelength
    sizes = (width, height) in (size, size[::-1]) and page.imagedepth == page.tiledepth == 1
    if not sizes or page.samplesperpixel not in (3, 4) or page.bitspersample != 16 or page.predictor not in (1, 2):
        raise InvalidImage("broken TIFF picture: its tags contradict each other")
    most = 2 * math.prod(page.chunks)
    if most > 8 * limits.max_pixels:
        raise ImageTooLarge(f"a part of the TIFF picture has {most:,} bytes")
    if int(page.compression) in _DEFLATES:
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
    for top in range(0, len(pixels), _ROWS):
        band = pixels[top : top + _ROWS].astype(np.uint32)
        alpha = band[:, :, 3:]
        straight = (band[:, :, :3] * 65_535 + alpha // 2) // np.maximum(alpha, 1)
        pixels[top : top + _ROWS, :, :3] = np.minimum(straight, 65_535)


# ---- Writing -------------------------------------------------------------------------------------------------------


def to_tiff(pixels: Levels, icc_profile: bytes | None = None, exif: bytes | None = None) -> bytes:
    """Encode uint16 (H, W), grey, or (H, W, 4), straight RGBA, without metadata but what is given.

    Exif data is kept whole, with its tables of exposure and place. Raises ImageTooLarge beyond 4 GB of pixels, and
    ValueError for other shapes.
    """
    if pixels.ndim != 2 and pixels.shape[2:] != (4,):
        raise ValueError(f"this TIFF is written from (H, W) or (H, W, 4), not {pixels.shape}")
    if pixels.nbytes > _MAX_BYTES:
        raise ImageTooLarge(f"TIFF holds {_MAX_BYTES:,} bytes, not {pixels.nbytes:,}")
    height, width, num_channels = (*pixels.shape, 1)[:3]
    num_rows = min(height, max(1, _STRIP_BYTES // (2 * width * num_channels)))

    def deflated(top: int) -> bytes:
        rows = pixels[top : top + num_rows].astype("<u2", order="C")
        rows[:, 1:] -= pixels[top : top + num_rows, :-1]
        return bytes(isal.compress(rows.data, _LEVEL))

    strips = in_threads(deflated, range(0, height, num_rows))
    lengths = [len(strip) for strip in strips]
    tags = ImageFileDirectory_v2(b"II*\0\x08\0\0\0")
    for number, value in _camera(exif).items():
        tags[number] = value
    tags[_Tag.ImageWidth], tags[_Tag.ImageLength] = width, height
    tags[_Tag.BitsPerSample] = (16,) * num_channels
    tags[_Tag.SamplesPerPixel] = num_channels
    tags[_Tag.PhotometricInterpretation] = _GREY if num_channels == 1 else _RGB
    if num_channels == 4:
        tags[_Tag.ExtraSamples] = _UNASSOCIATED
    tags[_Tag.PlanarConfiguration] = _INTERLEAVED
    tags[_Tag.Compression], tags[_Tag.Predictor] = _DEFLATE, _DIFFERENCES
    tags[_Tag.RowsPerStrip] = num_rows
    # Counted from the end of the tags, whose length Pillow adds.
    tags.tagtype[_Tag.StripOffsets] = tags.tagtype[_Tag.StripByteCounts] = TiffTags.LONG
    tags[_Tag.StripOffsets] = tuple(accumulate(lengths[:-1], initial=0))
    tags[_Tag.StripByteCounts] = tuple(lengths)
    # A profile of RGB says nothing about the values of a grey mask.
    if icc_profile and num_channels == 4:
        tags.tagtype[_ICC_PROFILE] = TiffTags.UNDEFINED
        tags[_ICC_PROFILE] = icc_profile
    start = tags.prefix + b"*\0\x08\0\0\0"
    return b"".join((start, tags.tobytes(len(start)), *strips))


def _camera(exif: bytes | None) -> dict[int, object]:
    """The tags of Exif data, and in them the tables of exposure and place as far as they hold anything."""
    tags = Image.Exif()
    if exif is not None:
        tags.load(exif)
    tables = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
    found = {number: tags.get_ifd(number) if number in tables else tags[number] for number in tags}
    return {number: value for number, value in found.items() if value != {}}
