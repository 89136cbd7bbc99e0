"""PNG in the time that reading the pixels takes: bands of rows, filtered and deflated side by side.

A band is first tried on a sample of its rows, with each filter and over a near or far window: noise of a camera packs
best as single residuals, smooth and repeated colours by reference to what came before. What is best differs from
picture to picture by a sixth of the file; to guess it from sums of differences, as libpng does, misses half of that.
Deflating is ISA-L's (or zlib's, where there is no ISA-L, and for whoever has patience); bands end on whole bytes
(RFC 1950 and 1951), so that they can be joined. The bytes do not depend on the number of threads.

https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.system.process import in_threads

isal: ModuleType
try:
    from isal import isal_zlib as isal
except ImportError:  # there are processors and systems that it is not built for
    isal = zlib

Rows = NDArray[np.uint8]

_COLOR_TYPES = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}
_BAND_BYTES = 2**20
_SAMPLE_BYTES = 2**16
_ISAL_LEVEL = 2  # of 0 to 3: 1 is hardly faster, 3 makes larger files of pictures
_ADLER = 65_521  # RFC 1950: the largest prime below 2**16


@dataclass(frozen=True)
class _Way:
    """How to deflate: a module with zlib's interface, and what its compressor is told."""

    module: ModuleType
    level: int
    log_window: int = 15
    strategy: int = zlib.Z_DEFAULT_STRATEGY

    def deflate(self, filtered: Rows) -> bytes:
        """A part of a raw stream that ends on a whole byte, and refers to nothing before it."""
        compressor = self.module.compressobj(self.level, zlib.DEFLATED, -self.log_window, 8, self.strategy)
        return b"".join((compressor.compress(filtered), compressor.flush(zlib.Z_SYNC_FLUSH)))


def to_png(
    image: Image.Image,
    icc_profile: bytes | None = None,
    level: int = 1,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Encode an image in mode L, LA, RGB or RGBA, without metadata but what is given.

    `level` 1 takes ISA-L; 2 to 9 are zlib's, slower and smaller. Raises ValueError for other levels and modes.
    """
    if not 1 <= level <= 9:
        raise ValueError(f"the level of PNG is 1 to 9, got {level}")
    if image.mode not in _COLOR_TYPES:
        raise ValueError(f"this PNG is written from modes {', '.join(_COLOR_TYPES)}, not {image.mode}")
    width, height = image.size
    image.load()
    num_rows = max(1, _BAND_BYTES // (width * len(image.getbands())))
    bands = in_threads(_packer(image, num_rows, level), range(0, height, num_rows))
    checksum = 1
    for band in bands:
        checksum = _joined_adler(checksum, band.checksum, band.num_filtered)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[image.mode], 0, 0, 0)),
            _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)) if icc_profile else b"",
            _chunk(b"pHYs", struct.pack(">IIB", *(round(x / 0.0254) for x in dpi), 1)) if dpi else b"",  # a metre's
            _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) if exif else b"",
            _chunk(b"IDAT", b"\x78\x01"),  # RFC 1950: a window of 32 KiB, compressed fast
            *(band.chunk for band in bands),
            _chunk(b"IDAT", b"\x03\0" + checksum.to_bytes(4)),  # RFC 1951: a last block that holds nothing
            _chunk(b"IEND", b""),
        )
    )


@dataclass(frozen=True)
class _Band:
    chunk: bytes
    """The band's IDAT."""
    num_filtered: int
    """Length before it was deflated."""
    checksum: int
    """Adler-32 of that."""


def _packer(image: Image.Image, num_rows: int, level: int) -> Callable[[int], _Band]:
    """What makes a band of an image, given its first row."""
    ways = (
        (_Way(isal, _ISAL_LEVEL), _Way(isal, _ISAL_LEVEL, log_window=9))
        if level == 1 and isal is not zlib
        else (_Way(zlib, level), _Way(zlib, level, strategy=zlib.Z_RLE))
    )
    width, height = image.size
    step = len(image.getbands())
    num_sampled = max(1, _SAMPLE_BYTES // (width * step))

    def pack(top: int) -> _Band:
        bottom = min(top + num_rows, height)
        # Beyond the border a crop is 0, which is what the first row's filters expect above it.
        pixels = np.asarray(image.crop((0, top - 1, width, bottom))).reshape(-1, width * step)
        first = max(0, (bottom - top - num_sampled) // 2)
        sample = pixels[first : first + num_sampled + 1]
        samples = {kind: _filtered(sample, step, kind) for kind in _FILTERS}
        kind = min(samples, key=lambda kind: len(ways[-1].deflate(samples[kind])))
        way = min(ways, key=lambda way: len(way.deflate(samples[kind])))
        filtered = _filtered(pixels, step, kind)
        chunk = _chunk(b"IDAT", way.deflate(filtered))
        return _Band(chunk, filtered.size, isal.adler32(filtered))

    return pack


def _chunk(kind: bytes, content: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(content)), kind, content, isal.crc32(content, isal.crc32(kind)).to_bytes(4)))


def _joined_adler(first: int, second: int, num_second: int) -> int:
    """The Adler-32 of two parts put together, from that of each and the length of the second (RFC 1950)."""
    low, high = first & 0xFFFF, first >> 16
    joined_low = (low + (second & 0xFFFF) - 1) % _ADLER
    joined_high = (high + (second >> 16) + num_second * (low - 1)) % _ADLER
    return joined_high << 16 | joined_low


# ---- Filters: PNG, section 9 -----------------------------------------------------------------------------------


def _filtered(pixels: Rows, step: int, kind: int) -> Rows:
    """All rows but the first filtered, each behind the filter's number; a pixel is `step` bytes."""
    filtered = np.empty((len(pixels) - 1, pixels.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0] = kind
    # Few enough rows to stay in a processor's cache from one operation to the next.
    num_rows = max(1, 2**15 // pixels.shape[1])
    for top in range(0, len(filtered), num_rows):
        part = pixels[top : top + num_rows + 1]
        rows = part[1:]
        np.subtract(rows, _FILTERS[kind](rows, part[:-1], step), out=filtered[top : top + num_rows, 1:])
    return filtered


def _left(rows: Rows, above: Rows, step: int) -> Rows:  # noqa: ARG001
    left = np.zeros_like(rows)
    left[:, step:] = rows[:, :-step]
    return left


def _above(rows: Rows, above: Rows, step: int) -> Rows:  # noqa: ARG001
    return above


def _paeth(rows: Rows, above: Rows, step: int) -> Rows:
    """Of left, above and the corner between them the one nearest to left + above - corner, without leaving 8 bits.

    That is the corner where it lies about half-way between the other two, and else the one that is farther from it.
    """
    left, corner = _left(rows, above, step), _left(above, above, step)
    low, high = np.minimum(left, above), np.maximum(left, above)
    between = np.minimum(np.maximum(corner, low), high)
    below, over = between - low, high - between
    nearer, farther = np.minimum(below, over), np.maximum(below, over)
    return _either(_either(low, high, over >= below), between, farther - nearer < nearer)


def _either(first: Rows, second: Rows, which: NDArray[np.bool]) -> Rows:
    """The second where `which` is true, in a third of `np.where`'s time."""
    return np.asarray(first ^ ((first ^ second) & np.negative(which.view(np.uint8))))


_FILTERS: dict[int, Callable[[Rows, Rows, int], Rows]] = {1: _left, 2: _above, 4: _paeth}
