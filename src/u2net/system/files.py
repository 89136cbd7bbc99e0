"""Whole files and folders or none, locks, digests, walks and links."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # there is none on Windows, where nobody deletes what is open
    fcntl = None  # type: ignore[assignment]


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
