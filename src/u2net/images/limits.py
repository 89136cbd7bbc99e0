"""Limits on input, each checked before anything of that size is allocated.

What is refused raises `InvalidImage` or one of its kinds, in one line.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from dataclasses import dataclass, replace

from u2net.errors import ImageTooLarge, InvalidImage

# A progressive JPEG can ask for one more pass over all its pixels in 75 bytes. Encoders write about ten passes;
# 100 is libtiff's limit too.
_MAX_SCANS = 100
# Pillow walks over segments one by one, in Python. Cameras write a few dozen.
_MAX_SEGMENTS, _MAX_FILL = 10_000, 1000


@dataclass(frozen=True)
class Limits:
    """What `load_image` accepts. Each is checked before anything of that size is allocated."""

    max_pixels: int = 50_000_000
    """Width × height."""
    max_side: int = 16_384
    """The longer of width and height."""
    max_bytes: int = 25 * 2**20
    """Length of an encoded file."""
    max_icc_bytes: int = 4 * 2**20
    """Length of a colour profile. A longer one is ignored; its picture is not refused."""


LIMITS = Limits()

LIMITS_16_BITS = replace(LIMITS, max_bytes=8 * LIMITS.max_pixels + 2**24)
"""`LIMITS` for pictures of 16 bits per channel, whose files have up to 8 bytes per pixel, and more for metadata."""


def read_encoded(path: str | os.PathLike[str], limits: Limits = LIMITS) -> bytes:
    """The content of a picture's file. Raises InvalidImage for what is no regular file or too long, and OSError."""
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InvalidImage("not a regular file")
        check_num_bytes(status.st_size, limits)
        # The file may be growing, or tell a length of 0 as those of /proc do.
        return file.read(limits.max_bytes + 1)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for anyone to write into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_num_bytes(num_bytes: int, limits: Limits) -> None:
    """Raise ImageTooLarge for too long a file."""
    if num_bytes > limits.max_bytes:
        raise ImageTooLarge(f"the file has more than {limits.max_bytes:,} bytes")


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Raise ImageTooLarge for too many pixels, (width, height), and InvalidImage for none."""
    width, height = size
    if width < 1 or height < 1:
        raise InvalidImage(f"the picture is empty: {width} × {height} pixels")
    if max(size) > limits.max_side:
        raise ImageTooLarge(f"{width} × {height} pixels: a side may have {limits.max_side:,}")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(f"{width} × {height} pixels: a picture may have {limits.max_pixels:,}")


def check_segments(jpeg: bytes) -> None:
    """Refuse more segments and scans than pictures have, up to the end of the first one (ITU-T T.81, annex B)."""
    # Within a scan FF is followed by 00 or a restart marker; the markers sought head a segment with its length.
    marker = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
    num_scans, num_segments, found = 0, 0, marker.search(jpeg, 2)
    while found and found[1] != b"\xd9":
        num_scans += found[1] == b"\xda"
        num_segments += 1
        end = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
        if num_scans > _MAX_SCANS or num_segments > _MAX_SEGMENTS or jpeg[end : end + _MAX_FILL] == b"\xff" * _MAX_FILL:
            raise ImageTooLarge(f"the JPEG picture has more than {_MAX_SCANS} scans, or far too many segments")
        found = marker.search(jpeg, end)


def bare_png(png: bytes, max_icc_bytes: int) -> tuple[bytes, bytes | None]:
    """Keep the chunks that make the first frame; give the colour profile beside them.

    Pillow refuses pictures with texts or profiles of more than 1 MiB, and with faults in later frames.
    """
    kept, position, profile = [png[:8]], 8, None
    seen: set[bytes] = set()  # all but IDAT stand once
    while position < len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4])
        kind = png[position + 4 : position + 8]
        if kind in seen:
            pass
        elif kind == b"iCCP":
            _, _, compressed = png[position + 8 : end - 4].partition(b"\0")
            try:
                profile = zlib.decompressobj().decompress(compressed[1:], max_icc_bytes + 1)
            except zlib.error:
                profile = None
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"):
            kept.append(png[position:end])
        if kind != b"IDAT":
            seen.add(kind)
        position = end
    return b"".join(kept), profile
