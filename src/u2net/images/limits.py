"""Limits on input, each checked before anything of that size is allocated.

What is refused raises `InvalidImage` or one of its kinds, in one line.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol, runtime_checkable

from u2net.errors import ImageTooLarge, InvalidImage, InvalidSetting
from u2net.system.process import available_memory

_PART = 2**20  # bytes of an open file that are read at a time


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
    hint: str = ""
    """What a refusal adds: how the limits are raised."""


LIMITS = Limits()
"""For encoded pictures that may come from strangers, as those of a service do."""

LIMITS_16_BITS = replace(LIMITS, max_bytes=8 * LIMITS.max_pixels + 2**24)
"""`LIMITS` for pictures of 16 bits per channel, whose files have up to 8 bytes per pixel, and more for metadata."""


_BYTES_OF_A_PIXEL = 32  # the finest outline takes 15 at its most (108 megapixels, quality best); there is more to run
_OWN_HINT = "--max-pixels, --max-side and --max-bytes, limits= or U2NET_MAX_PIXELS, _SIDE and _BYTES raise this"


def own_limits(
    *, processes: int = 1, max_pixels: int | None = None, max_side: int | None = None, max_bytes: int | None = None
) -> Limits:
    """What is accepted of one's own files: what fits this machine's memory, shared by so many `processes`.

    What is not given is what the environment's U2NET_MAX_PIXELS, U2NET_MAX_SIDE and U2NET_MAX_BYTES say, or else as
    many pixels as the memory that was free at first holds, at least those of `LIMITS`, up to 8 bytes of a file for each
    of them, and sides of any length. Raises InvalidSetting for a variable that is no whole number above 0.
    """
    memory = _free_memory()
    fitting = LIMITS.max_pixels if memory is None else memory // processes // _BYTES_OF_A_PIXEL
    pixels = max_pixels or _from_environment("U2NET_MAX_PIXELS") or max(LIMITS.max_pixels, fitting)
    side = max_side or _from_environment("U2NET_MAX_SIDE") or pixels
    return Limits(pixels, side, max_bytes or _from_environment("U2NET_MAX_BYTES") or 8 * pixels + 2**24, hint=_OWN_HINT)


@cache
def _free_memory() -> int | None:
    return available_memory()


def _from_environment(name: str) -> int | None:
    value = os.environ.get(name)
    if not value:
        return None
    if not (value.isdecimal() and int(value) > 0):
        raise InvalidSetting(f"{name} is a whole number above 0, got {value!r}")
    return int(value)


@runtime_checkable
class Stream(Protocol):
    """A file that is open for reading."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, and none at the end."""


def read_encoded(source: str | os.PathLike[str] | Stream, limits: Limits = LIMITS) -> bytes:
    """The content of a picture's file, or what is left to read of an open one.

    Raises InvalidImage for a path to what is no regular file, for text, and for what is too long, and OSError.
    """
    if isinstance(source, Stream):
        content = read_at_most(source, limits.max_bytes)
        check_num_bytes(len(content), limits)
        return content
    with open(source, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise InvalidImage("not a regular file")
        check_num_bytes(status.st_size, limits)
        # The file may be growing, or tell a length of 0 as those of /proc do.
        known: bytes = file.read(status.st_size + 1)
        return known if len(known) <= status.st_size else known + read_at_most(file, limits.max_bytes)


def read_at_most(stream: Stream, num_bytes: int) -> bytes:
    """What a stream gives, up to so many bytes and one: no memory is taken before there is something for it.

    Raises InvalidImage for a stream of text.
    """
    parts, left = [], num_bytes + 1
    while left > 0 and (part := stream.read(min(left, _PART))):
        if not isinstance(part, bytes):
            raise InvalidImage("the file is open as text: open it in the mode 'rb'")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for anyone to write into a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_num_bytes(num_bytes: int, limits: Limits) -> None:
    """Raise ImageTooLarge for too long a file."""
    if num_bytes > limits.max_bytes:
        raise _too_large(f"the file has more than {limits.max_bytes:,} bytes", limits)


def check_size(size: tuple[int, int], limits: Limits) -> None:
    """Raise ImageTooLarge for too many pixels, (width, height), and InvalidImage for none."""
    width, height = size
    if width < 1 or height < 1:
        raise InvalidImage(f"the picture is empty: {width} × {height} pixels")
    if max(size) > limits.max_side:
        raise _too_large(f"{width} × {height} pixels: a side may have {limits.max_side:,}", limits)
    if width * height > limits.max_pixels:
        raise _too_large(f"{width} × {height} pixels: a picture may have {limits.max_pixels:,}", limits)


def _too_large(what: str, limits: Limits) -> ImageTooLarge:
    return ImageTooLarge(f"{what}; {limits.hint}" if limits.hint else what)
