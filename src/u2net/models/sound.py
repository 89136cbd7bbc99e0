"""Whether a file is what it was published as: hashed when it is first seen, and again when it has changed."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from u2net.system import atomic_write


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file can be read and has a checksum, as in "md5:…"; none has the empty one."""
    algorithm, _, expected = (checksum or "sha256:").partition(":")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    except OSError:
        return False
    return digest.hexdigest() == expected


def is_sound(path: Path, checksum: str, note: Path) -> bool:
    """The same, but the file is not read if it is still the one that the file `note` tells of.

    To hash a model takes 0.3 s at most. Where the note cannot be written, that is done each time.
    """
    try:
        identity = f"{checksum} {_identity(path)}"
    except OSError:
        return False
    with suppress(OSError, ValueError):
        if note.read_text(encoding="utf-8") == identity:
            return True
    if not has_checksum(path, checksum):
        return False
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(note) as file:
            file.write(identity.encode())
    return True


def _identity(path: Path) -> str:
    """What the system says of a file, in one line. Copying programs set all times but that of the last change."""
    status = path.stat()
    numbers = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return f"{str(path.absolute())!a} {numbers}"
