"""Folders on disks and in object stores, by pyarrow's file systems."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from u2net.encoding import save_bytes
from u2net.errors import InvalidImage
from u2net.image import LIMITS, SUFFIXES, read_encoded

_STORES = ("s3", "gcs", "abfs")  # where an object appears when all of it is there


@dataclass(frozen=True)
class Storage:
    """A folder or a file somewhere. May be pickled, as names and keys are taken from where it is used."""

    system: fs.FileSystem
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disks, among them those that it shares with others."""
        return isinstance(self.system, fs.LocalFileSystem)

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file, or a folder with some. Raises OSError."""
        if self.path.endswith(".parquet"):
            return True
        return any(info.path.endswith(".parquet") for info in self.system.get_file_info(fs.FileSelector(self.path)))

    def pictures(self, besides: Storage) -> list[Path]:
        """Relative names of the pictures below it but not below `besides`, in their order. Raises OSError."""
        infos = self.system.get_file_info(fs.FileSelector(self.path, recursive=True))
        own = f"{besides.path}/" if besides.system.equals(self.system) else None
        files = (info.path for info in infos if info.is_file and not (own and info.path.startswith(own)))
        names = (Path(file).relative_to(self.path) for file in files)
        return sorted(n for n in names if n.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in n.parts))

    def holds(self, name: str) -> bool:
        """Whether there is anything of that name. Raises OSError."""
        return bool(self.system.get_file_info(self._at(name)).type != fs.FileType.NotFound)

    def read(self, name: str) -> bytes:
        """An encoded picture. Raises InvalidImage where it is too long to be one, and OSError."""
        if self.is_local:
            return read_encoded(self._at(name))
        with self.system.open_input_stream(self._at(name)) as stream:
            content = bytes(stream.read(LIMITS.max_bytes + 1))
        if len(content) > LIMITS.max_bytes:
            raise InvalidImage(f"larger than {LIMITS.max_bytes:,} bytes")
        return content

    def write(self, name: str, content: bytes) -> None:
        """Have a file hold this: all of it appears at once, and replaces what was there. Raises OSError."""
        path = self._at(name)
        if self.is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            save_bytes(content, path)
        elif self.system.type_name in _STORES:
            self._put(path, content)
        else:
            folder = path.rpartition("/")[0]
            self.system.create_dir(folder)
            part = f"{folder}/.{secrets.token_hex(8)}.part"
            self._put(part, content)
            self.system.move(part, path)

    def _put(self, path: str, content: bytes) -> None:
        with self.system.open_output_stream(path) as stream:
            stream.write(content)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path


def open_storage(place: str) -> Storage:
    """A path, or a URI such as s3://bucket/folder. Raises ValueError for what is neither, and OSError."""
    if "://" not in place:
        return Storage(fs.LocalFileSystem(), str(Path(place).absolute()))
    system, path = fs.FileSystem.from_uri(place)
    return Storage(system, path.rstrip("/"))
