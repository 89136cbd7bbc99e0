"""A session from a model's name or file."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING

from u2net.errors import UnusableRuntime
from u2net.inference.choose import choose
from u2net.inference.origin import Origin
from u2net.inference.runtimes import Options, Precision, Runtime
from u2net.inference.session import Session
from u2net.models import DEFAULT
from u2net.models.card import Card
from u2net.models.integers import is_proven
from u2net.models.onnx_file import OnnxFile
from u2net.models.onnx_sizes import check_sizes
from u2net.models.transform import Transform
from u2net.models.zoo import cache_folder, resolve, row_of

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
    throughput: bool = False,
    transform: Transform | None = None,
    progress: bool = False,
) -> Session:
    """Open a model by its name in `MODELS`, downloading it once if need be, or by the path of a file.

    A published file is recognised by its checksum wherever it lies. Files are `.onnx` or, with the extra `torch`,
    `.pth` and `.safetensors`, which torch runs itself. With "auto" for both `runtime` and `precision` the session uses
    what is fastest on this machine, and its maps may differ by some grey levels from those in "fp32", which are the
    same on every runtime; docs/precision.md has the choices. `threads` of None leaves their number to
    `OMP_NUM_THREADS`, or else to the runtime. `throughput` is for a session that several threads use at a time, as for
    the frames of a film: together they get more pictures a second, and each waits longer. `transform` replaces the
    model's own. `sess_opts` and `providers` are ONNX Runtime's; options are used as they are, threads included, and
    providers have short names in `u2net.inference.runtimes.PROVIDERS` too. `model_path` is rembg's way to name a file,
    with the model name "u2net_custom". `progress` shows a download on stderr.

    The session may be pickled, but for one with `sess_opts`.

    Raises UnknownModel, DownloadError, InvalidModel, MissingExtra, OSError for a file that cannot be read, and
    ValueError for parameters that make no sense together.
    """
    if model_path is not None:
        model_name = model_path
    path = resolve(model_name, progress=progress)
    if path.suffix.lower() in _TORCH_SUFFIXES:
        if runtime != "auto" or precision not in ("auto", "fp32") or threads or providers or sess_opts:
            raise UnusableRuntime(
                f"{path.name} is run by torch in fp32, which takes no runtime, threads, providers or options"
            )
        from u2net.net.backend import torch_backend
        from u2net.net.weight_files import load_checkpoint

        origin = Origin.of(path, Card(path.stem), "torch", Options())
        network, card = load_checkpoint(path)
        card = replace(card, transform=transform) if transform else card
        return Session(torch_backend(network), card, replace(origin, card=card))
    if providers is not None or sess_opts is not None:
        if runtime not in ("auto", "onnxruntime"):
            raise ValueError("providers and sess_opts are for ONNX Runtime")
        runtime = "onnxruntime"
    if (threads is not None and threads < 1) or (providers is not None and not providers):
        raise ValueError("threads is 1 or more, and providers are at least one")
    file = OnnxFile.read(path)
    model = row_of(fspath(model_name), file)
    card = file.card(model.card if model else None)
    if transform is not None:
        card = replace(card, transform=transform)
    path, chosen, number = choose(file, model, card, runtime, precision)
    if model is None or (path != file.path and not is_proven(path, model)):
        check_sizes(path, card.transform.size)
    _log.debug("%s runs %s in %s", chosen, path.name, number)
    options = Options(
        number,
        threads or _threads_from_environment(),
        throughput=throughput,
        cache=cache_folder() / chosen,
        providers=providers,
        session_options=sess_opts,
    )
    origin = Origin.of(path, card, chosen, options)
    return Session(origin.backend(), card, origin)


def _threads_from_environment() -> int | None:
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdecimal() and int(value) > 0 else None
