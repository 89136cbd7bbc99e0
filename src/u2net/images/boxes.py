"""What AVIF and HEIC files make a codec decode, read before it does: a codec believes its own stream, not the file.

ISO/IEC 14496-12 (boxes) and 23008-12 (items); AV1 Bitstream & Decoding Process, 5.5; ITU-T H.265, 7.3.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import islice

from u2net.errors import ImageTooLarge, InvalidImage
from u2net.images.limits import Limits, check_size
from u2net.images.metadata import has_sane_tags

_MAX_PARTS = 2**16  # boxes in a box, extents of a table, units of a stream
_MAX_DEPTH = 10
_MAX_SIZES = 4096  # tiles of a grid are some hundreds
_MAX_SHARE = 4  # all coded pictures together to the pixels allowed: there are alpha, gain map, mattes, thumbnails
_NESTED = (b"moov", b"trak", b"mdia", b"minf", b"iprp", b"ipco")
_BLOCK = 63  # by so much at most a HEVC picture is coded larger than it is shown
_AV1_SEQUENCE, _HEVC_SEQUENCE = 1, 33

Size = tuple[int, int]
Extent = tuple[int, int]


def check_boxes(content: bytes, limits: Limits) -> None:
    """Refuse coded pictures that are too large, whatever size the file declares, and too much Exif data.

    Raises InvalidImage where what a codec would decode cannot be found.
    """
    try:
        sizes = list(islice(_sizes(memoryview(content), memoryview(content), 0), _MAX_SIZES + 1))
    except IndexError:
        raise _broken() from None
    if not 0 < len(sizes) <= _MAX_SIZES:
        raise _broken()
    for size in sizes:
        check_size(size, limits)
    if sum(width * height for width, height in sizes) > _MAX_SHARE * limits.max_pixels:
        raise ImageTooLarge(f"the pictures of the file have more than {_MAX_SHARE} × {limits.max_pixels:,} pixels")


def _broken() -> InvalidImage:
    return InvalidImage("broken picture: its file does not say what its codec finds")


def _sizes(boxes: memoryview, file: memoryview, depth: int) -> Iterator[Size]:
    """(width, height) of all that is coded for AV1 or HEVC, and of what is composed of it, as their own streams say."""
    if depth > _MAX_DEPTH:
        raise _broken()
    for kind, content in _boxes(boxes):
        if kind in _NESTED:
            yield from _sizes(content, file, depth + 1)
        elif kind == b"meta":
            yield from _sizes(content[4:], file, depth + 1)
            yield from _item_sizes(list(_boxes(content[4:])), file)
        elif kind == b"stbl":
            yield from _first_sample_sizes(list(_boxes(content)), file)
        elif kind == b"av1C":
            yield from _av1_sizes(content[4:].tobytes())
        elif kind == b"hvcC":
            yield from _hevc_sizes(_units_in(content.tobytes()))


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of each box in a row of them."""
    position = 0
    for _ in range(_MAX_PARTS):
        if position + 8 > len(content):
            return
        size, kind, head = _number(content[position:][:4]), content[position + 4 :][:4].tobytes(), 8
        if size == 1:
            size, head = _number(content[position + 8 :][:8]), 16
        end = position + size if size else len(content)
        if end < position + head:
            break
        yield kind, content[position + head : end]
        position = end
    raise _broken()


def _number(content: memoryview | bytes) -> int:
    return int.from_bytes(content)


# ---- What is coded, and where it lies ------------------------------------------------------------------------------


def _item_sizes(meta: list[tuple[bytes, memoryview]], file: memoryview) -> Iterator[Size]:
    """Sizes by the contents of the items that a `meta` box lists."""
    kinds: dict[int, set[bytes]] = {}
    for table in (content for kind, content in meta if kind == b"iinf"):
        for _, entry in _boxes(table[6 if table[0] == 0 else 8 :]):
            wide = 4 if entry[0] == 3 else 2
            kinds.setdefault(_number(entry[4 : 4 + wide]), set()).add(entry[6 + wide : 10 + wide].tobytes())
    stores = {0: [file], 1: [content for kind, content in meta if kind == b"idat"]}
    left = 2 * len(file)
    for table in (content for kind, content in meta if kind == b"iloc"):
        for number, method, extents in _locations(BytesIO(table)):
            for store in stores.get(method, []):
                parts = [store[start : start + length if length else len(store)] for start, length in extents]
                left -= sum(map(len, parts))
                if left < 0:
                    raise _broken()
                for kind in kinds.get(number, ()):
                    yield from _content_sizes(kind, b"".join(parts))


def _content_sizes(kind: bytes, item: bytes) -> Iterator[Size]:
    if kind == b"av01":
        yield from _av1_sizes(item)
    elif kind in (b"hvc1", b"hev1"):
        yield from _hevc_sizes(_units_of(item))
    elif kind in (b"grid", b"iovl"):
        start, wide = 4 if kind == b"grid" else 10, 4 if item[1:2] and item[1] & 1 else 2
        yield _number(item[start : start + wide]), _number(item[start + wide : start + 2 * wide])
    elif kind == b"Exif" and not has_sane_tags(item[4 + _number(item[:4]) :]):
        raise InvalidImage("the picture has far too much Exif data")


def _locations(table: BytesIO) -> Iterator[tuple[int, int, list[Extent]]]:
    """Number, method (0: in the file, 1: in `idat`) and extents (start, length) of the items of an `iloc` box."""

    def take(num_bytes: int) -> int:
        return _number(table.read(num_bytes))

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
            raise _broken()
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
            raise _broken()
        start = _number(starts[0][1][8:16] if starts[0][0] == b"co64" else starts[0][1][8:12])
        length = _number(lengths[0][4:8]) or _number(lengths[0][12:16])
        yield from _av1_sizes(file[start : start + length].tobytes())


# ---- What a codec's stream says ------------------------------------------------------------------------------------


class _Bits:
    """Reads numbers of some bits, the first one highest."""

    def __init__(self, content: bytes) -> None:
        self._content, self._num_left = _number(content), 8 * len(content)

    def take(self, num_bits: int) -> int:
        self._num_left -= num_bits
        if self._num_left < 0:
            raise _broken()
        return (self._content >> self._num_left) & ((1 << num_bits) - 1)

    def take_any(self) -> int:
        """A number behind as many zeros as it has bits (AV1, 4.10.3; H.265, 9.2)."""
        num_zeros = 0
        while not self.take(1):
            num_zeros += 1
        return (1 << num_zeros) - 1 + self.take(num_zeros)


def _av1_sizes(stream: bytes) -> Iterator[Size]:
    """Sizes by the sequence headers of a stream (AV1, 5.3 to 5.5)."""
    position = 0
    for _ in range(_MAX_PARTS):
        if position >= len(stream):
            return
        head, position = stream[position], position + 1 + (stream[position] >> 2 & 1)
        size, shift = len(stream) - position, 0
        if head & 2:
            size = 0
            while position < len(stream) and shift < 56:
                byte, position = stream[position], position + 1
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
        if head >> 3 & 15 == _AV1_SEQUENCE:
            yield _av1_size(_Bits(stream[position : position + min(size, 256)]))
        position += size
    raise _broken()


def _av1_size(bits: _Bits) -> Size:
    bits.take(4)
    still = bits.take(1)
    if still:
        bits.take(5)
    else:
        model = delay = 0
        if bits.take(1):  # timing
            bits.take(64)
            if bits.take(1):
                bits.take_any()
            model = bits.take(1)
            if model:
                delay = bits.take(5) + 1
                bits.take(42)
        display = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            bits.take(bits.take(5) > 7)
            if model and bits.take(1):
                bits.take(2 * delay + 1)
            if display and bits.take(1):
                bits.take(4)
    wide, high = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(wide), bits.take(high)
    # Frames that are no stills may state a size of their own, of as many bits. Encoders take no more than they need.
    if not still and wide > max(width.bit_length(), 1):
        width = (1 << wide) - 1
    if not still and high > max(height.bit_length(), 1):
        height = (1 << high) - 1
    return width + 1, height + 1


def _units_in(config: bytes) -> Iterator[bytes]:
    """The units that the configuration of a HEVC picture holds."""
    arrays = BytesIO(config[22:])
    for _ in range(_number(arrays.read(1))):
        for _ in range(_number(arrays.read(3)[1:])):
            yield arrays.read(_number(arrays.read(2)))


def _units_of(stream: bytes) -> Iterator[bytes]:
    """The units of a stream, each behind its length."""
    position = 0
    for _ in range(_MAX_PARTS):
        if position >= len(stream):
            return
        start = position + 4
        end = start + _number(stream[position:start])
        yield stream[start : min(end, start + 256)]
        position = end
    raise _broken()


def _hevc_sizes(units: Iterator[bytes]) -> Iterator[Size]:
    """Sizes by the sequence parameter sets among a stream's units (H.265, 7.3.2.2)."""
    for unit in units:
        if unit and unit[0] >> 1 & 63 == _HEVC_SEQUENCE:
            bits = _Bits(unit[:256].replace(b"\0\0\3", b"\0\0")[2:])
            bits.take(4)
            num_layers = bits.take(3)
            bits.take(97)
            layers = [(bits.take(1), bits.take(1)) for _ in range(8 if num_layers else 0)][:num_layers]
            for has_profile, has_level in layers:
                bits.take(88 * has_profile + 8 * has_level)
            bits.take_any()
            if bits.take_any() == 3:  # colours as fine as brightness
                bits.take(1)
            yield max(bits.take_any() - _BLOCK, 1), max(bits.take_any() - _BLOCK, 1)
