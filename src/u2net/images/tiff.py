"""TIFF of 16 bits per channel, which Pillow cannot write: strips of differences, deflated side by side.

tifffile would write it too, but neither exposure nor place, and in some six times the time.

TIFF Revision 6.0, Adobe 1992; Photoshop TIFF Technical Notes, Adobe 2002, for deflate.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from u2net.errors import ImageTooLarge
from u2net.images.png import isal

_Tag = ExifTags.Base
_STRIP_BYTES = 2**20
_LEVEL = 2  # of ISA-L's 0 to 3, and of zlib's 1 to 9 where there is no ISA-L
_MAX_THREADS = 4
_MAX_BYTES = 2**32 - 2**24  # offsets have 32 bits; what is left is for tags, and for noise that grows as it is deflated
_DEFLATE, _DIFFERENCES, _INTERLEAVED, _UNASSOCIATED = 8, 2, 1, 2
_GREY, _RGB = 1, 2
_ICC_PROFILE = int(_Tag.InterColorProfile)


def to_tiff(pixels: NDArray[np.uint16], icc_profile: bytes | None = None, exif: bytes | None = None) -> bytes:
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

    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
        strips = list(pool.map(deflated, range(0, height, num_rows)))
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
