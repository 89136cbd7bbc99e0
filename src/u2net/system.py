"""Whole files or none, digests, links, processors, memory, open files, the C library's heaps, and wishes to stop."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from functools import cache
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Self

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]


@contextlib.contextmanager
def atomic_write(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends well; otherwise `path` stays as it was.

    Meanwhile it stands beside `path` under the name in its `.name`; it is on the disk before it is renamed.
    Raises OSError if the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # Plain open, unlike tempfile, gives the permissions that the umask asks for.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)  # the name that the caller knows
        raise


def sync(path: Path) -> None:
    """Have a file's content, or the names in a folder, on the disk, where the system can be asked for it."""
    with contextlib.suppress(OSError):  # some folders may be written but not read, some systems refuse
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256_of(path: str | PathLike[str]) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises OSError."""
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def leads_back(path: Path, root: Path) -> bool:
    """Whether a path below `root` is a link to one of the folders above it, so that following it would not end."""
    if not path.is_symlink():
        return False
    above = (parent for parent in path.parents if parent == root or root in parent.parents)
    return any(Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(path)) for folder in above)


def num_processors() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
