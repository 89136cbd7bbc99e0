"""Keeping the C library from keeping what was freed."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 4 * 1024 * 1024  # bytes; to map every buffer of 256 KiB anew took a tenth of a small picture's time


def bound_heaps() -> None:
    """Have large pictures' buffers given back to the system as soon as they are freed. Does nothing but under glibc.

    By default glibc takes the largest buffer that was freed for the measure of what to keep, up to 32 MB, and has a
    heap for each thread: over pictures of mixed sizes a service grew to 1.8 GB, which held nothing.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_M_ARENA_MAX, 2)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, 4 * _LARGE)


def trim_heaps() -> None:
    """Give back the free pages between what small things are in use. Takes milliseconds, for any thread."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
