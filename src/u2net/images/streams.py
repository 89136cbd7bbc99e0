"""How large the pictures are that streams of AV1 and HEVC code, as they say themselves.

AV1 Bitstream & Decoding Process, 5.5; ITU-T H.265, 7.3.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from u2net.errors import InvalidImage

_MAX_UNITS = 2**16
_BLOCK = 63  # by so much at most a HEVC picture is coded larger than it is shown
_AV1_SEQUENCE, _HEVC_SEQUENCE = 1, 33

Size = tuple[int, int]


def broken() -> InvalidImage:
    """What is raised where the size cannot be found."""
    return InvalidImage("broken picture: its file does not say what its codec finds")


def integer(content: memoryview | bytes) -> int:
    """The number that bytes are, the highest first."""
    return int.from_bytes(content)


class _Bits:
    """Reads numbers of some bits, the first one highest."""

    def __init__(self, content: bytes) -> None:
        self._content, self._num_left = integer(content), 8 * len(content)

    def take(self, num_bits: int) -> int:
        self._num_left -= num_bits
        if self._num_left < 0:
            raise broken()
        return (self._content >> self._num_left) & ((1 << num_bits) - 1)

    def take_any(self) -> int:
        """A number behind as many zeros as it has bits (AV1, 4.10.3; H.265, 9.2)."""
        num_zeros = 0
        while not self.take(1):
            num_zeros += 1
        return (1 << num_zeros) - 1 + self.take(num_zeros)


def av1_sizes(stream: bytes) -> Iterator[Size]:
    """Sizes by the sequence headers of a stream (AV1, 5.3 to 5.5)."""
    position = 0
    for _ in range(_MAX_UNITS):
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
    raise broken()


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


def units_in(config: bytes) -> Iterator[bytes]:
    """The units that the configuration of a HEVC picture holds."""
    arrays = BytesIO(config[22:])
    for _ in range(integer(arrays.read(1))):
        for _ in range(integer(arrays.read(3)[1:])):
            yield arrays.read(integer(arrays.read(2)))


def units_of(stream: bytes) -> Iterator[bytes]:
    """The units of a stream, each behind its length."""
    position = 0
    for _ in range(_MAX_UNITS):
        if position >= len(stream):
            return
        start = position + 4
        end = start + integer(stream[position:start])
        yield stream[start : min(end, start + 256)]
        position = end
    raise broken()


def hevc_sizes(units: Iterator[bytes]) -> Iterator[Size]:
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
