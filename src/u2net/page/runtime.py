"""onnxruntime-web, which runs networks in browsers: from a folder, or out of its npm package by the user's own npm."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from u2net.errors import DownloadError, reason

VERSION = "1.30.0"
_INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_NPM_TIMEOUT_S = 900
_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Of the folder dist/: what computes on processors, with SIMD and threads."""


def from_folder(folder: Path) -> dict[str, bytes]:
    """The files, by name, of an unpacked package. Raises ValueError if it is none."""
    try:
        about = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        if about["name"] != "onnxruntime-web":
            raise ValueError(f"{folder} holds {about['name']}, not onnxruntime-web")
        return {name: (folder / "dist" / name).read_bytes() for name in _FILES}
    except (OSError, KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(f"{folder} is no unpacked package of onnxruntime-web {VERSION}") from None


def from_npm() -> dict[str, bytes]:
    """The files, by name, of the pinned version, with the user's registry, proxy and certificates.

    The package is only unpacked: nothing of it is run. Raises DownloadError.
    """
    if os.environ.get("U2NET_OFFLINE", "") not in ("", "0"):
        raise DownloadError("U2NET_OFFLINE is set: give --runtime, a folder with the unpacked package")
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError("there is no npm here: install it, or give --runtime, a folder with the unpacked package")
    with tempfile.TemporaryDirectory() as folder:
        # In a folder of our own: the one that the user is in may hold a stranger's .npmrc.
        command = [npm, "pack", "--ignore-scripts", "--silent", f"onnxruntime-web@{VERSION}"]
        try:
            done = subprocess.run(  # noqa: S603
                command, cwd=folder, capture_output=True, text=True, timeout=_NPM_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise DownloadError("npm took too long") from None
        packages = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(packages) != 1:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise DownloadError(f"npm: {lines[0] if lines else 'it failed'}")
        return _unpacked(packages[0])


def _unpacked(package: Path) -> dict[str, bytes]:
    with package.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != _INTEGRITY:
        raise DownloadError("what npm gives is not the published package, its checksum is wrong")
    try:
        with tarfile.open(package) as archive:
            members = [archive.extractfile(f"package/dist/{name}") for name in _FILES]
            return {name: member.read() for name, member in zip(_FILES, members, strict=True) if member}
    except (KeyError, OSError, tarfile.TarError) as error:
        raise DownloadError(f"the package of onnxruntime-web does not hold its files: {reason(error)}") from None
