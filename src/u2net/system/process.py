"""Processors, threads, memory, open files, heaps of the C library, and signals: what this process has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

T = TypeVar("T")
U = TypeVar("U")

_MAX_THREADS = 4  # for one picture: with more, memory grows and time hardly falls


def num_processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """What a function makes of each item, in their order, by up to four threads; the first error is raised.

    For work that lets other threads run, as that of numpy, Pillow and zlib does.
    """
    items = list(items)
    num = min(num_processors(), _MAX_THREADS, len(items))
    ends = not threading.main_thread().is_alive()  # the interpreter waits for this thread, and starts no more
    if num < 2 or ends:
        return [work(item) for item in items]
    with ThreadPoolExecutor(num) as pool:
        return list(pool.map(work, items))


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, within the limit of the container; None where no one says."""
    known = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        known.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        known.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    if not known:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none on Windows
            known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(known, default=None)


def allow_open_files(num: int) -> int | None:
    """Have this process allowed `num` open files, connections among them, as far as an administrator lets it.

    Returns how many it may have then, None where nobody counts. Most programs begin with 1,024, for the sake of old
    ones.
    """
    if resource is None:
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = num if hard == resource.RLIM_INFINITY else min(num, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return None if soft == resource.RLIM_INFINITY else soft


# glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_HIGHEST = 32 * 1024 * 1024  # bytes; up to here glibc raises the second by itself
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


@contextlib.contextmanager
def kept_heaps() -> Iterator[None]:
    """Keep what is freed for what comes next, and give it back at the end. Does nothing but under glibc.

    For work that takes the same large buffers again and again: to map them anew each time was a third of a training
    step on a CPU. It needs more memory, since what is kept has gaps.
    """
    library = _glibc()
    if library is None:
        yield
        return
    # Older ones refuse more than their own measure's highest.
    _ = library.mallopt(_M_MMAP_THRESHOLD, 2**30) or library.mallopt(_M_MMAP_THRESHOLD, _HIGHEST)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(_M_TOP_PAD, 2**28)
    try:
        yield
    finally:
        # Its own measure, once set, grows no more: so it gets what large pictures would have made of it.
        library.mallopt(_M_MMAP_THRESHOLD, _HIGHEST)
        library.mallopt(_M_TRIM_THRESHOLD, 2 * _HIGHEST)
        library.mallopt(_M_TOP_PAD, 128 * 1024)
        library.malloc_trim(0)


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


class Signals:
    """Notes the first signal. A SIGINT after it acts at once, as it would have without us.

    Another SIGTERM says nothing new: schedulers send it to a launcher and to its processes, and launchers pass it on.
    """

    def __init__(self) -> None:
        self.received = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python hears no signals
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        while self._former:
            signal.signal(*self._former.popitem())

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        if signal.SIGINT in self._former:
            signal.signal(signal.SIGINT, self._former.pop(signal.SIGINT))
