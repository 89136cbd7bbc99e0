"""What AVIF and HEIC files make a codec decode, read before it does: a codec believes its own stream, not the file.

ISO/IEC 14496-12 (boxes) and 23008-12 (items).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import islice

from u2net.errors import ImageTooLarge, InvalidImage
from u2net.images.limits import Limits, check_size
from u2net.images.metadata import has_sane_tags
from u2net.images.streams import Size, av1_sizes, broken, hevc_sizes, integer, units_in, units_of

_MAX_PARTS = 2**16  # boxes in a box, extents of a table
_MAX_DEPTH = 10
_MAX_SIZES = 4096  # tiles of a grid are some hundreds
_MAX_SHARE = 4  # all coded pictures together to the pixels allowed: there are alpha, gain map, mattes, thumbnails
_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"iprp", b"ipco")

Extent = tuple[int, int]


def check_boxes(content: bytes, limits: Limits) -> None:
    """Refuse coded pictures that are too large, whatever size the file declares, and too much Exif data.

    Raises InvalidImage where what a codec would decode cannot be found.
    """
    try:
        sizes = list(islice(_sizes(memoryview(content), memoryview(content), 0), _MAX_SIZES + 1))
    except IndexError:
        raise broken() from None
    if not 0 < len(sizes) <= _MAX_SIZES:
        raise broken()
    for size in sizes:
        check_size(size, limits)
    if sum(width * height for width, height in sizes) > _MAX_SHARE * limits.max_pixels:
        raise ImageTooLarge(f"the pictures of the file have more than {_MAX_SHARE} × {limits.max_pixels:,} pixels")


def _sizes(boxes: memoryview, file: memoryview, depth: int) -> Iterator[Size]:
    """(width, height) of all that is coded for AV1 or HEVC, and of what is composed of it, as their own streams say."""
    if depth > _MAX_DEPTH:
        raise broken()
    for kind, content in _boxes(boxes):
        if kind in _NESTED:
            yield from _sizes(content, file, depth + 1)
        elif kind == b"meta":
            yield from _sizes(content[4:], file, depth + 1)
            yield from _item_sizes(list(_boxes(content[4:])), file)
        elif kind == b"stbl":
            yield from _first_sample_sizes(list(_boxes(content)), file)
        elif kind == b"av1C":
            yield from av1_sizes(content[4:].tobytes())
        elif kind == b"hvcC":
            yield from hevc_sizes(units_in(content.tobytes()))


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each box in a row of them."""
    position = 0
    for _ in range(_MAX_PARTS):
        if position + 8 > len(content):
            return
        size, kind, head = integer(content[position:][:4]), content[position + 4 :][:4].tobytes(), 8
        if size == 1:
            size, head = integer(content[position + 8 :][:8]), 16
        end = position + size if size else len(content)
        if end < position + head:
            return  # no box; decoders find none behind it either
        yield kind, content[position + head : end]
        position = end
    raise broken()


# ---- What is coded, and where it lies ------------------------------------------------------------------------------


def _item_sizes(meta: list[tuple[bytes, memoryview]], file: memoryview) -> Iterator[Size]:
    """Sizes by the contents of the items that a `meta` box lists."""
    kinds: dict[int, set[bytes]] = {}
    for table in (content for kind, content in meta if kind == b"iinf"):
        for _, entry in _boxes(table[6 if table[0] == 0 else 8 :]):
            wide = 4 if entry[0] == 3 else 2
            kinds.setdefault(integer(entry[4 : 4 + wide]), set()).add(entry[6 + wide : 10 + wide].tobytes())
    stores = {0: [file], 1: [content for kind, content in meta if kind == b"idat"]}
    left = 2 * len(file)
    for table in (content for kind, content in meta if kind == b"iloc"):
        for number, method, extents in _locations(BytesIO(table)):
            for store in stores.get(method, []):
                parts = [store[start : start + length if length else len(store)] for start, length in extents]
                left -= sum(map(len, parts))
                if left < 0:
                    raise broken()
                for kind in kinds.get(number, ()):
                    yield from _content_sizes(kind, b"".join(parts))


def _content_sizes(kind: bytes, item: bytes) -> Iterator[Size]:
    if kind == b"av01":
        yield from av1_sizes(item)
    elif kind in (b"hvc1", b"hev1"):
        yield from hevc_sizes(units_of(item))
    elif kind in (b"grid", b"iovl"):
        start, wide = 4 if kind == b"grid" else 10, 4 if item[1:2] and item[1] & 1 else 2
        yield integer(item[start : start + wide]), integer(item[start + wide : start + 2 * wide])
    elif kind == b"Exif" and not has_sane_tags(item[4 + integer(item[:4]) :]):
        raise InvalidImage("the picture has far too much Exif data")


def _locations(table: BytesIO) -> Iterator[tuple[int, int, list[Extent]]]:
    """Number, method (0: in the file, 1: in `idat`) and extents (start, length) of the items of an `iloc` box."""

    def take(num_bytes: int) -> int:
        return integer(table.read(num_bytes))

    version = take(4) >> 24
    widths = take(2)
    of_start, of_length, of_base, of_index = widths >> 12, widths >> 8 & 15, widths >> 4 & 15, widths & 15
    left = _MAX_PARTS
    for _ in range(take(4 if version == 2 else 2)):
        number, method = take(4 if version == 2 else 2), take(2) & 15 if version else 0
        take(2)
        base, num_extents = take(of_base), take(2)
        left -= num_extents + 1
        if left < 0:
            raise broken()
        extents = []
        for _ in range(num_extents):
            take(of_index if version else 0)
            extents.append((base + take(of_start), take(of_length)))
        yield number, method, extents


def _first_sample_sizes(table: list[tuple[bytes, memoryview]], file: memoryview) -> Iterator[Size]:
    """Sizes by the description of a track, and by its first picture, which is the one that is decoded."""
    coded = False
    for description in (content for kind, content in table if kind == b"stsd"):
        for kind, entry in _boxes(description[8:]):
            coded |= kind == b"av01"
            yield from _sizes(entry[78:], file, _MAX_DEPTH)
    starts = [(kind, content) for kind, content in table if kind in (b"stco", b"co64")]
    lengths = [content for kind, content in table if kind == b"stsz"]
    if coded:
        if len(starts) != 1 or len(lengths) != 1:
            raise broken()
        start = integer(starts[0][1][8:16] if starts[0][0] == b"co64" else starts[0][1][8:12])
        length = integer(lengths[0][4:8]) or integer(lengths[0][12:16])
        yield from av1_sizes(file[start : start + length].tobytes())
