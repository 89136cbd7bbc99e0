"""The runtimes: each has a function that opens an ONNX file as a backend.

To add one, write such a function, give it a row in `RUNTIMES`, and its name to `Runtime`.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from u2net.errors import InvalidModel, MissingExtra, UnusableRuntime
from u2net.inference.compiled import keep, load, place

if TYPE_CHECKING:  # and numpy in the functions: the command line reads the names here, and starts without numpy
    import numpy as np
    import onnxruntime
    import openvino
    from numpy.typing import NDArray

    from u2net.models.card import Card
    from u2net.models.transform import Backend

Runtime = Literal["auto", "onnxruntime", "openvino"]
"""What runs a model. "auto" is OpenVINO where it is installed, else ONNX Runtime."""

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""The numbers that it computes with. `u2net.inference.choose.choose` says what "auto" is."""

Number = Literal["fp32", "bf16", "int8"]
"""A precision that was chosen."""


@dataclass(frozen=True)
class Options:
    """How a file is opened; a runtime uses what it knows of these."""

    precision: Number = "fp32"
    threads: int | None = None
    """None leaves the number to the runtime."""
    throughput: bool = False
    """Whether several threads call it at a time, and it is to give them the most pictures a second together."""
    cache: Path | None = None
    """A folder in which the runtime may keep what it compiled."""
    providers: Sequence[str] | None = None
    """ONNX Runtime's, by its own names or those in `PROVIDERS`."""
    session_options: onnxruntime.SessionOptions | None = None
    """ONNX Runtime's, used as they are: threads are not set in them."""


class Row(NamedTuple):
    """What is known of a runtime."""

    open: Callable[[Path, Card, Options], Backend]
    """Opens a file for pictures of the size in the card's Transform.

    Raises InvalidModel for a file that it cannot run, MissingExtra if the runtime is not installed, and ValueError for
    a precision that this processor does not have.
    """
    precisions: tuple[Number, ...]
    """What it computes with, where the processor can. Files of integers need "int8"."""


PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}
"""Short names of ONNX Runtime's providers; its own names are taken as well."""

_OF_ITS_SOURCE = re.compile(r"Exception from |Check '|While validating |Summary:|Conversion is failed for|$")

_log = logging.getLogger(__name__)
_one_core = threading.Lock()
_process: int | None = None  # that has OpenVINO's core


def open_onnxruntime(path: Path, card: Card, options: Options) -> Backend:
    """A file in ONNX Runtime. Logs a warning for each provider that was asked for but is not active."""
    import numpy as np
    import onnxruntime

    settings = options.session_options
    if settings is None:
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 4  # errors come back as exceptions
        settings.enable_mem_pattern = False  # which holds 280 MiB more from the second picture on, and is no faster
        if options.threads is not None or options.throughput:
            settings.intra_op_num_threads = options.threads or 1  # of each call
        width, height = card.transform.size
        # With the size known beforehand, the runtime folds the graph's arithmetic on sizes away.
        settings.add_free_dimension_override_by_name("height", height)
        settings.add_free_dimension_override_by_name("width", width)
    available = onnxruntime.get_available_providers()
    asked = [PROVIDERS.get(p, p) if isinstance(p, str) else p for p in options.providers or ("cuda", "cpu")]
    usable = [p for p in asked if (p if isinstance(p, str) else p[0]) in available]
    try:
        session = onnxruntime.InferenceSession(path, settings, providers=usable or [PROVIDERS["cpu"]])
    except Exception as error:  # the runtime's exceptions share no base class
        raise InvalidModel(f"ONNX Runtime cannot open {path.name}: {_first_line(error)}") from None
    active = session.get_providers()
    for provider in asked if options.providers is not None else usable:
        name = provider if isinstance(provider, str) else provider[0]
        if name not in active:
            _log.warning("%s was asked for but is not active; running on %s", name, active[0])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    _check_ends(path, card, [(i.type == "tensor(float)", i.shape) for i in inputs], len(outputs))
    taken, given = inputs[0], outputs[0]
    single = taken.shape[0] == 1

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = np.split(batch, len(batch)) if single else [batch]
        try:
            return np.concatenate([session.run([given.name], {taken.name: part})[0] for part in parts])
        except Exception as error:
            raise InvalidModel(f"ONNX Runtime cannot run {path.name}: {_first_line(error)}") from None

    return backend


def openvino_core() -> openvino.Core:
    """OpenVINO's one core of this process, which lasts as long as the process. Raises MissingExtra.

    Each core gives the thread that makes it a stack for signals, and takes it back when it ends: with more than one,
    a stack that is already gone may come back, and the next signal kills the process (OpenVINO's pull request 11894).
    And the first look at a tensor's numbers sets up what two threads that do so together wait for, for ever: it is
    taken here.

    Raises UnusableRuntime in a process that was forked from one that has used OpenVINO: it would wait for ever for
    threads that were not copied.
    """
    global _process
    _process = _process or os.getpid()
    _refuse_a_fork()
    with _one_core:
        return _openvino_core()


def _refuse_a_fork() -> None:
    if _process != os.getpid():  # before any lock is taken: it may have been copied while it was held
        raise UnusableRuntime(
            "OpenVINO does not work in a process forked from one that has used it: start processes by "
            "multiprocessing's 'spawn' or 'forkserver', or take the runtime 'onnxruntime'"
        )


@cache
def _openvino_core() -> openvino.Core:
    import numpy as np

    # Its converter of models would look up its maker's host, and leave an id in the home folder; it does without.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise MissingExtra("the OpenVINO runtime needs: pip install 'u2net[openvino]'") from None
    _ = openvino.Tensor(np.zeros(1, np.float32)).data
    return openvino.Core()


def processor_numbers() -> list[str]:
    """What this processor computes with, by OpenVINO's names: "BF16" is one. Raises MissingExtra."""
    return list(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def open_openvino(path: Path, card: Card, options: Options) -> Backend:
    """A file in OpenVINO, which keeps what it compiles in the cache folder if it may write there."""
    import numpy as np

    core = openvino_core()
    if options.precision == "bf16" and "BF16" not in processor_numbers():
        raise UnusableRuntime("bf16 needs a processor that computes with it")
    hint = "bf16" if options.precision == "bf16" else "f32"  # else OpenVINO rounds to what the processor likes best
    aim = "THROUGHPUT" if options.throughput else "LATENCY"
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": aim}
    if options.threads is not None:
        properties["INFERENCE_NUM_THREADS"] = options.threads
        # Threads are counted where several processes share the machine: tied to processors, all would take the first.
        properties["ENABLE_CPU_PINNING"] = False
    size = card.transform.size
    try:
        kept_in = options.cache and place(options.cache, core, path, size, properties)
        compiled = load(kept_in, core, properties) if kept_in else None
        if compiled is None:
            model = core.read_model(path)
            shapes = [[d.get_length() if d.is_static else None for d in i.partial_shape] for i in model.inputs]
            kinds = [i.element_type.get_type_name() == "f32" for i in model.inputs]
            _check_ends(path, card, list(zip(kinds, shapes, strict=True)), len(model.outputs))
            # A network of one known size is compiled far better than one of any size.
            model.reshape([1, 3, *reversed(size)])
            compiled = core.compile_model(model, "CPU", properties)
            if kept_in:
                keep(kept_in, compiled)
    except RuntimeError as error:
        raise InvalidModel(f"OpenVINO cannot open {path.name}: {_reason(error)}") from None

    # A request serves one thread at a time. Some are kept: to set one's memory up takes a sixth of a picture's time.
    num_kept = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") if options.throughput else 1
    kept: queue.Queue[openvino.InferRequest] = queue.Queue(num_kept)

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        _refuse_a_fork()
        try:
            request = kept.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        try:
            maps = np.concatenate([request.infer({0: part})[0].copy() for part in np.split(batch, len(batch))])
        except RuntimeError as error:
            raise InvalidModel(f"OpenVINO cannot run {path.name}: {_reason(error)}") from None
        with suppress(queue.Full):
            kept.put_nowait(request)
        return maps

    return backend


RUNTIMES: dict[str, Row] = {
    "onnxruntime": Row(open_onnxruntime, ("fp32", "int8")),
    "openvino": Row(open_openvino, ("fp32", "bf16", "int8")),
}
"""Every runtime by its name; the first in float32 is what others are compared with."""


def _check_ends(
    path: Path, card: Card, inputs: Sequence[tuple[bool, Sequence[int | str | None]]], num_outputs: int
) -> None:
    """Raise InvalidModel unless the file takes one picture batch of the size that the Transform makes.

    `inputs` tell whether they are float32, and their shapes.
    """
    expected = (None, 3, *reversed(card.transform.size))
    fits = (
        num_outputs > 0
        and len(inputs) == 1
        and inputs[0][0]
        and len(inputs[0][1]) == 4
        and all(
            not isinstance(found, int) or wanted is None or found == wanted
            for found, wanted in zip(inputs[0][1], expected, strict=True)
        )
    )
    if not fits:
        raise InvalidModel(
            f"{path.name} takes {len(inputs)} input(s) of shape {[list(shape) for _, shape in inputs]} and gives "
            f"{num_outputs} output(s); its Transform makes one float32 (B, 3, H, W) of {expected[1:]}"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _reason(error: RuntimeError) -> str:
    """What OpenVINO says of a file: the last line that is not about its own source."""
    lines = [line.strip(" -\t") for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if not _OF_ITS_SOURCE.match(line)), "no reason is given")
