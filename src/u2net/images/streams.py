"""How large the pictures are that streams of AV1 and HEVC code, as they say themselves.

AV1 Bitstream & Decoding Process, 5.3 to 5.9; ITU-T H.265, 7.3.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from u2net.errors import InvalidImage

_MAX_UNITS = 2**16
_BLOCK = 63  # by so much at most a HEVC picture is coded larger than it is shown
_AV1_SEQUENCE, _AV1_FRAMES, _HEVC_SEQUENCE = 1, (3, 6, 7), 33
_KEY, _SWITCH, _BY_FRAME = 0, 3, 2  # kinds of AV1 frames; a tool that each of them switches

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
    """Sizes by the sequence headers of a stream, and by frames that state one of their own (AV1, 5.3 to 5.9)."""
    position, sequence = 0, None
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
        bits, kind = _Bits(stream[position : position + min(size, 256)]), head >> 3 & 15
        if kind == _AV1_SEQUENCE:
            sequence = _Sequence(bits)
            yield sequence.size
        elif kind in _AV1_FRAMES:
            if sequence is None:  # a decoder may know one of another stream
                raise broken()
            if sequence.has_other_size(bits):
                yield sequence.largest
        position += size
    raise broken()


class _Sequence:
    """The head of a sequence of AV1 frames."""

    def __init__(self, bits: _Bits) -> None:
        bits.take(4)
        self._is_still = bits.take(1)
        self._num_time_bits = self._num_id_bits = 0
        if self._is_still:
            bits.take(5)
        else:
            self._take_operation(bits)
        wide, high = bits.take(4) + 1, bits.take(4) + 1
        width, height = bits.take(wide), bits.take(high)
        self.size = width + 1, height + 1
        """Of frames that state none."""
        # Most encoders take no more bits than they need, and then a frame cannot be much larger.
        self.largest = _possible(width, wide), _possible(height, high)
        """Of frames that state one."""
        if not self._is_still:
            self._take_tools(bits)

    def _take_operation(self, bits: _Bits) -> None:
        model = delay = 0
        if bits.take(1):  # timing
            bits.take(64)
            is_even = bits.take(1)
            if is_even:
                bits.take_any()
            model = bits.take(1)
            if model:
                delay = bits.take(5) + 1
                bits.take(37)
                num_time_bits = bits.take(5) + 1
                self._num_time_bits = 0 if is_even else num_time_bits
        display = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            bits.take(bits.take(5) > 7)
            if model and bits.take(1):
                bits.take(2 * delay + 1)
            if display and bits.take(1):
                bits.take(4)

    def _take_tools(self, bits: _Bits) -> None:
        if bits.take(1):
            self._num_id_bits = bits.take(4) + bits.take(3) + 3
        bits.take(7)
        if bits.take(1):  # frames have an order
            bits.take(2)
        self._for_screens = _BY_FRAME if bits.take(1) else bits.take(1)
        self._for_whole_moves = _BY_FRAME
        if self._for_screens and not bits.take(1):
            self._for_whole_moves = bits.take(1)

    def has_other_size(self, bits: _Bits) -> bool:
        """Whether a frame, by its header, states a size of its own."""
        if self._is_still or bits.take(1):  # it is one that was decoded before
            return False
        kind, is_shown = bits.take(2), bits.take(1)
        if is_shown:
            bits.take(self._num_time_bits)
        else:
            bits.take(1)
        if not (kind == _SWITCH or (kind == _KEY and is_shown)):
            bits.take(1)
        bits.take(1)
        for_screens = bits.take(1) if self._for_screens == _BY_FRAME else self._for_screens
        if for_screens and self._for_whole_moves == _BY_FRAME:
            bits.take(1)
        bits.take(self._num_id_bits)
        return kind == _SWITCH or bool(bits.take(1))


def _possible(last: int, num_bits: int) -> int:
    return 1 << num_bits if num_bits > max(last.bit_length(), 1) else last + 1


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
