"""The digest of a file: computed when it is first seen, and again when it has changed."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from u2net.system.files import atomic_write


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file can be read and has a checksum, as in "md5:…"; none has the empty one."""
    try:
        return _checksum(path, checksum.partition(":")[0] or "sha256") == checksum
    except OSError:
        return False


def noted_checksum(path: Path, algorithm: str, note: Path) -> str:
    """The checksum of a file, as in "md5:…"; it is not read if it is still the one that the file `note` tells of.

    To hash a model takes 0.3 s at most. Where the note cannot be written, that is done each time. Raises OSError for a
    file that cannot be read.
    """
    identity = _identity(path)
    with suppress(OSError, ValueError):
        known, noted = note.read_text(encoding="utf-8").split(" ", 1)
        if noted == identity and known.startswith(f"{algorithm}:"):
            return known
    checksum = _checksum(path, algorithm)
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(note) as file:
            file.write(f"{checksum} {identity}".encode())
    return checksum


def _checksum(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def _identity(path: Path) -> str:
    """What the system says of a file, in one line. Copying programs set all times but that of the last change."""
    status = path.stat()
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return f"{str(path.absolute())!a} {numbers}"
