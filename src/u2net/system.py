"""Whole files or none, digests, links, processors, threads, memory, open files, heaps of the C library, and signals."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import os
import secrets
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Self, TypeVar

try:
    import fcntl
except ImportError:  # there is none on Windows, where nobody deletes what is open
    fcntl = None  # type: ignore[assignment]

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

T = TypeVar("T")
U = TypeVar("U")

_MAX_THREADS = 4  # for one picture: with more, memory grows and time hardly falls


@contextlib.contextmanager
def atomic_write(path: str | PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that becomes `path` when the block ends well; otherwise `path` stays as it was.

    Meanwhile it stands beside `path` under the name in its `.name`, locked; it is on the disk before it is renamed. A
    file that is replaced keeps its permissions; a link is replaced itself. Raises OSError if the folder is missing or
    cannot be written, or the disk is full.
    """
    path = Path(path)
    temporary = new_part(path.parent)
    try:
        # Plain open, unlike tempfile, gives the permissions that the umask asks for.
        with temporary.open("xb") as file:
            lock(file.fileno())
            _keep_permissions(path, temporary)
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


def _keep_permissions(path: Path, temporary: Path) -> None:
    """Give the file that will replace `path` its permissions, before there is anything in it to read."""
    with contextlib.suppress(OSError):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return
        mode = stat.S_IMODE(status.st_mode) & 0o777
        try:
            if hasattr(os, "chown") and temporary.stat().st_gid != status.st_gid:
                os.chown(temporary, -1, status.st_gid)
        except OSError:
            mode &= ~0o070 | (mode & 0o007) << 3  # another group may do no more than all others
        temporary.chmod(mode)


def can_lock() -> bool:
    """Whether `lock` means anything here."""
    return fcntl is not None


def lock(descriptor: int) -> bool:
    """Whether nobody else holds a file; it is ours then until it is closed. Yes where that cannot be asked."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a disk without locks
            return True
    return True


def new_part(folder: Path) -> Path:
    """A name for what is being written in a folder, and gets another when it is whole."""
    return folder / f".{secrets.token_hex(8)}.part"


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, for what will have that name when it is whole. What is left in it then goes.

    Raises OSError, with the name `path` for what happens to the folder.
    """
    folder = new_part(path.parent)
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        if error.filename and folder in (place := Path(error.filename), *place.parents):
            error.filename = str(path)  # the name that the caller knows
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def parts(folder: Path) -> Iterator[Path]:
    """What has such a name in a folder, which need not exist."""
    return folder.glob(f".{'[0-9a-f]' * 16}.part")


def sweep(folder: Path) -> None:
    """Remove what killed processes left of `atomic_write`, but nothing that is being written. It need not exist."""
    for part in parts(folder):
        with contextlib.suppress(OSError):
            descriptor = os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
            try:
                is_left = stat.S_ISREG(os.fstat(descriptor).st_mode) and lock(descriptor)
            finally:
                os.close(descriptor)
            if is_left:
                part.unlink()


def new_folder(path: Path) -> None:
    """Create a folder, and those above it, if it is not there; however deep. Raises OSError."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)


def walk(
    root: Path, on_error: Callable[[OSError], object] = lambda _: None, *, follow: bool = False
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder below `root`, with its folders and files, as os.walk gives them, but however deep (before 3.12).

    Folders that are taken out of the list are not visited, nor, without `follow`, links.
    """
    waiting = [root]
    while waiting:
        here = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    (folders if _is_folder(entry) else files).append(entry.name)
        except OSError as error:
            on_error(error)
            continue
        yield here, folders, files
        below = [here / name for name in reversed(folders)]
        waiting += below if follow else [folder for folder in below if not folder.is_symlink()]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def first_link(path: Path, root: Path) -> Path | None:
    """The topmost link among a path below `root` and the folders between, where a stranger may have put it."""
    places = itertools.accumulate(path.relative_to(root).parts, Path.joinpath, initial=root)
    return next((place for place in itertools.islice(places, 1, None) if place.is_symlink()), None)


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
