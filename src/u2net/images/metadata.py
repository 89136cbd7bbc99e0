"""What a file holds besides its pixels, bounded by format before Pillow reads it.

Pillow walks over metadata in Python, and makes an object of each number in it: 23 MB of them take half a minute and a
gigabyte. What is needless for a cut-out and may be left out is left out; what is too much besides is refused.
"""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from typing import Literal

from u2net.errors import ImageTooLarge, InvalidImage

# A progressive JPEG can ask for one more pass over all its pixels in 75 bytes. Encoders write about ten passes;
# 100 is libtiff's limit too.
_MAX_SCANS = 100
# Pillow walks over segments one by one, in Python. Cameras write a few dozen.
_MAX_SEGMENTS, _MAX_FILL = 10_000, 1000
# Within a scan FF is followed by 00 or a restart marker; the markers sought head a segment with its length.
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
_PIECE = 2**20
_MAX_TABLES = 2**18  # bytes of the segments that a JPEG decoder needs; 4 KB are usual
_NEEDED_BY_PILLOW = (b"JFIF", b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"Adobe")
_MAX_CHUNKS = 2**17  # those of a PNG file of a gigabyte, in the 8 KB that libpng writes; of WebP, an hour of film
_MAX_READS = 2**17  # GIF keeps XMP in blocks of some 100 bytes, each read in two goes: this is for 6 MB
PNM_OF_TEXT = (b"P1", b"P2", b"P3")
_MAX_EXIF = 2**20  # bytes; JPEG's standard knows 64 KB
_MAX_TAGS, _MAX_ENTRIES = 4096, 2**13  # a broken table may have any number of entries of no known type
# A curve of 16 bits for each of three channels has 196,608. Fractions take Pillow that much longer than whole numbers.
_MAX_NUMBERS, _FRACTION = 2**18, 16
_MAX_PARTS = 2**20  # strips or tiles
_PARTS = (273, 279, 324, 325)  # StripOffsets, StripByteCounts, TileOffsets, TileByteCounts
_TABLES = (34_665, 34_853, 40_965)  # Exif, GPS, Interoperability
_TAG_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
_BYTES, _WHOLE, _FRACTIONS = (1, 2, 7), (3, 4, 8, 9, 13, 16), (5, 10)


class Header(BytesIO):
    """A file whose header is being read: few reads do. After `done` it may be read without end."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._num_reads = 0
        self.read = self._read  # type: ignore[method-assign]

    def _read(self, size: int | None = -1, /) -> bytes:
        self._num_reads += 1
        if self._num_reads > _MAX_READS:
            raise InvalidImage("the picture holds far too many pieces of metadata")
        return super().read(size)

    def done(self) -> None:
        """Lift the limit, and what counting costs."""
        del self.read


def check_segments(jpeg: bytes) -> int:
    """Refuse more segments and scans than pictures have, in the first one; gives its end (ITU-T T.81, annex B)."""
    num_scans, num_segments, found = 0, 0, _next_marker(jpeg, 2)
    while found and found[1] != b"\xd9":
        num_scans += found[1] == b"\xda"
        num_segments += 1
        end = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
        if num_scans > _MAX_SCANS or num_segments > _MAX_SEGMENTS or jpeg[end : end + _MAX_FILL] == b"\xff" * _MAX_FILL:
            raise ImageTooLarge(f"the JPEG picture has more than {_MAX_SCANS} scans, or far too many segments")
        found = _next_marker(jpeg, end)
    return found.end() if found else len(jpeg)


def _next_marker(jpeg: bytes, start: int) -> re.Match[bytes] | None:
    """Look for it piece by piece: `re` lets no other thread run meanwhile."""
    while start < len(jpeg):
        if found := _MARKER.search(jpeg, start, start + _PIECE):
            return found
        start += _PIECE - 1  # a marker may lie across
    return None


def bare_jpeg(jpeg: bytes) -> bytes:
    """Keep the segments before the first scan that make the picture, Exif data that is sane, and all that follows.

    Pillow joins Exif data in quadratic time, reads Photoshop's in Python, and skips what is no segment byte by byte.
    """
    kept, exif, num_bytes, found = [jpeg[:2]], [], 0, _next_marker(jpeg, 2)
    while found and found[1] != b"\xda":
        end = found.end()
        if found[1] != b"\xd9":
            end += int.from_bytes(jpeg[end : end + 2])
        segment = jpeg[found.start() : end]
        if segment[4:].startswith(_NEEDED_BY_PILLOW):
            kept.append(segment)
            if segment[1:2] == b"\xe1" and segment[4:].startswith(b"Exif\0\0"):
                exif.append(segment)
        elif not b"\xe0" <= found[1] <= b"\xef" and found[1] != b"\xfe":
            kept.append(segment)
            num_bytes += len(segment)
        found = _next_marker(jpeg, end)
    if num_bytes > _MAX_TABLES:
        raise InvalidImage(f"the JPEG picture has more than {_MAX_TABLES:,} bytes of tables")
    if not has_sane_tags(b"".join(segment[10:] for segment in exif)):
        kept = [segment for segment in kept if segment not in exif]
    return b"".join((*kept, memoryview(jpeg)[found.start() :] if found else b"\xff"))


def bare_png(png: bytes, max_icc_bytes: int) -> tuple[bytes, bytes | None, int | None]:
    """Keep the chunks that make the first frame; give the colour profile and the number of significant bits beside.

    Pillow refuses pictures with texts or profiles of more than 1 MiB, and with faults in later frames.
    """
    kept, position, num_chunks = [png[:8]], 8, 0
    profile: bytes | None = None
    bits: int | None = None
    seen: set[bytes] = set()  # all but IDAT stand once
    while position < len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4])
        kind = png[position + 4 : position + 8]
        num_chunks += 1
        if num_chunks > _MAX_CHUNKS:
            raise InvalidImage(f"the PNG picture has more than {_MAX_CHUNKS:,} chunks")
        if kind in seen or (kind == b"eXIf" and not has_sane_tags(png[position + 8 : end - 4])):
            pass
        elif kind == b"iCCP":
            _, _, compressed = png[position + 8 : end - 4].partition(b"\0")
            try:
                profile = zlib.decompressobj().decompress(compressed[1:], max_icc_bytes + 1)
            except zlib.error:
                profile = None
        elif kind == b"sBIT" and end > position + 12:
            bits = min(max(png[position + 8], 1), 16)
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"pHYs", b"IDAT", b"IEND"):
            kept.append(png[position:end])
        if kind != b"IDAT":
            seen.add(kind)
        position = end
    return b"".join(kept), profile, bits


def check_chunks(webp: bytes) -> None:
    """Refuse more chunks than pictures have: libwebp lists them all while no other thread can run."""
    position, num_chunks = 12, 0
    end = min(len(webp), 8 + int.from_bytes(webp[4:8], "little"))  # what follows is not looked at
    while position < end:
        num_chunks += 1
        if num_chunks > _MAX_CHUNKS:
            raise InvalidImage(f"the WebP picture has more than {_MAX_CHUNKS:,} chunks")
        position += 8 + (int.from_bytes(webp[position + 4 : position + 8], "little") + 1) // 2 * 2


def without_comments(pnm: bytes) -> bytes:
    """Take the comments out of a PNM picture of text: Pillow would copy all that follows for each of them."""
    if pnm.count(b"#") > _MAX_READS:
        raise InvalidImage("the PNM picture has far too many comments")
    return re.sub(rb"#[^\r\n]*[\r\n]?", b"", pnm)


def has_sane_tags(exif: bytes) -> bool:
    """Whether Exif data is short, and holds no more than cameras write: else it is left out."""
    try:
        check_tags(exif.removeprefix(b"Exif\0\0"))
    except InvalidImage:
        return False
    return len(exif) <= _MAX_EXIF


def check_tags(tiff: bytes) -> None:
    """Refuse more tags and numbers than pictures have in the first table of a TIFF file, and in those of a camera.

    Pillow reads a table several times, and makes an object of each number. Texts and bytes may be as long as the file,
    but for what lies in it several times.
    """
    order = "<" if tiff[:2] == b"II" else ">"
    endian: Literal["little", "big"] = "little" if order == "<" else "big"
    counting, entry, width = ("Q", "HHQ8s", 8) if tiff[2:3] == b"+" else ("H", "HHL4s", 4)
    num_tags = num_numbers = num_parts = num_bytes = 0
    tables, done = [tiff[width : 2 * width]], set[int]()
    while tables:
        start = int.from_bytes(tables.pop(), endian)
        first = start + struct.calcsize(order + counting)
        if start in done or first > len(tiff):
            continue
        done.add(start)
        (found,) = struct.unpack(order + counting, tiff[start:first])
        step = struct.calcsize(order + entry)
        found = min(found, (len(tiff) - first) // step)
        if found > _MAX_ENTRIES:
            raise InvalidImage("the picture has far too many tags")
        for tag, kind, number, value in struct.iter_unpack(order + entry, tiff[first : first + found * step]):
            size = number * _TAG_SIZES.get(kind, 0)
            if size == 0 or (size > width and int.from_bytes(value, endian) + size > len(tiff)):
                continue  # Pillow leaves it out
            num_tags, num_bytes = num_tags + 1, num_bytes + size
            if tag in _PARTS and kind in _WHOLE:
                num_parts += number
            elif kind not in _BYTES:
                num_numbers += number * (_FRACTION if kind in _FRACTIONS else 1)
            if tag in _TABLES and kind in _WHOLE and number == 1:
                tables.append(value[:size])
    if num_tags > _MAX_TAGS or num_numbers > _MAX_NUMBERS or num_parts > 2 * _MAX_PARTS or num_bytes > 2 * len(tiff):
        raise InvalidImage("the picture has far too many tags, or numbers in them")
