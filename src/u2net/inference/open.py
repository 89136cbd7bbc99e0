"""A session from a model's name or file."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from u2net.errors import InvalidModel
from u2net.inference.choose import Precision, Runtime, choose
from u2net.inference.runtimes import ncnn_backend, onnxruntime_backend, openvino_backend
from u2net.inference.session import Session
from u2net.models.card import METADATA_KEY, Card
from u2net.models.onnx_file import read_metadata
from u2net.models.transform import Transform
from u2net.models.zoo import DEFAULT, MODELS, cache_folder, resolve

if TYPE_CHECKING:
    import onnxruntime

_log = logging.getLogger(__name__)

_TORCH_SUFFIXES = {".pth", ".pt", ".safetensors"}  # lower case


def new_session(
    model_name: str | PathLike[str] = DEFAULT,
    *,
    sess_opts: onnxruntime.SessionOptions | None = None,
    providers: Sequence[str] | None = None,
    model_path: str | PathLike[str] | None = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: int | None = None,
    transform: Transform | None = None,
    progress: bool = False,
) -> Session:
    """Open a model by its name in `MODELS`, downloading it once if need be, or by the path of a file.

    Files are `.onnx` or, with the extra `torch`, `.pth` and `.safetensors`, which torch runs itself. `runtime`
    and `precision` are as `open_session` says: "auto" for both is the fastest here. `threads` of None
    leaves their number to the runtime. `transform` replaces the model's own feeding. `sess_opts` and `providers` are
    ONNX Runtime's; `model_path` is rembg's way to name a file, with the model name "u2net_custom". `progress` shows a
    download on stderr.

    Raises UnknownModel, DownloadError, InvalidModel, MissingExtra, OSError for a file that cannot be read, and
    ValueError for parameters that make no sense together.
    """
    if model_path is not None:
        model_name = model_path
    path = resolve(model_name, progress=progress)
    if path.suffix.lower() in _TORCH_SUFFIXES:
        if runtime != "auto" or precision not in ("auto", "fp32") or threads or providers or sess_opts:
            raise ValueError(
                f"{path.name} is run by torch in fp32, which takes no runtime, threads, providers or options"
            )
        from u2net.net.backend import torch_backend
        from u2net.net.checkpoint import load_checkpoint

        network, card = load_checkpoint(path)
        return Session(torch_backend(network), replace(card, transform=transform) if transform else card)
    model = MODELS.get(fspath(model_name))
    return open_session(
        path,
        model.card if model else None,
        runtime=runtime,
        precision=precision,
        cache=cache_folder() / "openvino",
        threads=threads,
        providers=providers,
        session_options=sess_opts,
        transform=transform,
    )


def open_session(
    path: str | PathLike[str],
    card: Card | None = None,
    *,
    runtime: Runtime = "onnxruntime",
    precision: Precision = "auto",
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    session_options: onnxruntime.SessionOptions | None = None,
    transform: Transform | None = None,
    cache: Path | None = None,
) -> Session:
    """Open an ONNX file. Its card is its own, else the one given, else one with the authors' Transform.

    `transform` replaces the card's. `runtime` and `precision` are as `u2net.inference.choose` says: "auto" for both
    takes what is fastest here, and gives maps that may differ by some grey levels from those of "fp32", which every
    runtime gives alike. `threads` of None lets the runtime choose; `OMP_NUM_THREADS` is obeyed. `providers`, ONNX
    Runtime's or their short names in `PROVIDERS`, and `session_options` are ONNX Runtime's; options are
    taken as they are, threads included. `cache` is a folder in which OpenVINO may keep what it compiled.

    Raises InvalidModel for what is not a model of this kind, MissingExtra for a runtime that is not installed,
    OSError for a file that cannot be read.
    """
    if providers is not None or session_options is not None:
        if runtime not in ("auto", "onnxruntime"):
            raise ValueError("providers and session_options are for ONNX Runtime")
        runtime = "onnxruntime"
    if (threads is not None and threads < 1) or (providers is not None and not providers):
        raise ValueError("threads is 1 or more, and providers are at least one")
    path = Path(path)
    card = read_card(path, card)
    if transform is not None:
        card = replace(card, transform=transform)
    if threads is None:
        threads = _threads_from_environment()
    path, runtime, precision = choose(path, card.transform.size, runtime, precision)
    _log.debug("%s runs %s in %s", runtime, path.name, precision)
    if runtime == "ncnn":
        return Session(ncnn_backend(path, card, threads), card)
    if runtime == "openvino":
        return Session(openvino_backend(path, card, threads, precision, cache), card)
    return Session(onnxruntime_backend(path, card, threads, providers, session_options), card)


def read_card(path: Path, default: Card | None = None) -> Card:
    """The card in an ONNX file, else the default, else one that assumes the authors' Transform.

    Raises InvalidModel if the file is not sound or its card is not one.
    """
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        return default or Card(name=path.stem)
    try:
        return Card.from_json(metadata[METADATA_KEY])
    except ValueError as error:
        raise InvalidModel(f"{path.name}: {error}") from None


def _threads_from_environment() -> int | None:
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() and int(value) > 0 else None
