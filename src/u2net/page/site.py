"""The page without a service: a folder of static files, with a model and the runtime inside, for any host."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from u2net import __version__
from u2net.page import page_files
from u2net.system.files import folder_beside

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' blob:; worker-src 'self'; form-action 'none'; base-uri 'none'"
)
"""The page may load and call what comes with it, and pictures that it was given. So no picture leaves a browser."""

_LIST = "files.js"
_LISTED = re.compile(r'^ "(.+)": "[0-9a-f]{64}",?$', re.MULTILINE)
_WITH_SERVICE = re.compile(r"^ *<!-- with a service -->\n.*?<!-- end -->\n", re.MULTILINE | re.DOTALL)
_WITHOUT = re.compile(r"<!-- without: (.*?) -->", re.DOTALL)


def write_site(target: Path, model: bytes, runtime: Mapping[str, bytes]) -> int:
    """Write the page's folder, whole or not at all, and give its size in bytes.

    `model` is an ONNX file, `runtime` the files of onnxruntime-web by their names. A folder that is there already is
    replaced, and must be such a page and no more. Raises FileExistsError for any other, OSError where it cannot be
    written.
    """
    if target.exists() and not is_site(target):
        raise FileExistsError(f"{target} holds what is no page of u2net's")
    files = {name: path.read_bytes() for name, path in page_files("alone").items()}
    files["index.html"] = _without_service(files["index.html"].decode()).encode()
    files["model.onnx"] = model
    files |= {f"runtime/{name}": content for name, content in runtime.items()}
    files[_LIST] = _list(files)
    with folder_beside(target) as folder:
        for name, content in files.items():
            path = folder / "new" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _exchange(folder / "new", target, folder / "old")
    return sum(map(len, files.values()))


def is_site(folder: Path) -> bool:
    """Whether a folder is such a page and holds nothing else, or is empty."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file()}
    listed = (folder / _LIST).read_text(encoding="utf-8", errors="replace") if _LIST in there else ""
    return there <= set(_LISTED.findall(listed))


def _without_service(page: str) -> str:
    """The page's text without what needs a service, and with what is there in its place."""
    page = _WITHOUT.sub(r"\1", _WITH_SERVICE.sub("", page))
    return page.replace("POLICY", POLICY).replace("VERSION", __version__)


def _list(files: Mapping[str, bytes]) -> bytes:
    """The script that tells the service worker which files there are. It changes when any of them does."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    digests[_LIST] = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
    return f"const FILES = {json.dumps(digests, indent=1)};\nconst POLICY = {json.dumps(POLICY)};\n".encode()


def _exchange(new: Path, target: Path, former: Path) -> None:
    """Give a folder the name `target`; what had it before is then called `former`."""
    is_there = target.exists()
    if is_there:
        target.rename(former)
    try:
        new.rename(target)
    except OSError:
        if is_there:
            former.rename(target)
        raise
