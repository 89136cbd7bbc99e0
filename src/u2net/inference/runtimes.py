"""The runtimes: each makes a backend of an ONNX file."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidModel, MissingExtra
from u2net.inference.ncnn_graph import fold_sizes, from_onnx
from u2net.models.card import Card
from u2net.models.transform import Backend

if TYPE_CHECKING:
    import onnxruntime
    import openvino

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

_log = logging.getLogger(__name__)
_one_core = threading.Lock()


def onnxruntime_backend(
    path: Path,
    card: Card,
    threads: int | None,
    providers: Sequence[str] | None,
    options: onnxruntime.SessionOptions | None,
) -> Backend:
    """A file in ONNX Runtime. Providers that are not active are told of in a logged warning."""
    import onnxruntime

    if options is None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come back as exceptions
        options.enable_mem_pattern = False  # which holds 280 MiB more from the second picture on, and is no faster
        if threads is not None:
            options.intra_op_num_threads = threads
        width, height = card.transform.size
        # With the size known beforehand, the runtime folds the graph's arithmetic on sizes away.
        options.add_free_dimension_override_by_name("height", height)
        options.add_free_dimension_override_by_name("width", width)
    available = onnxruntime.get_available_providers()
    asked = [PROVIDERS.get(p, p) if isinstance(p, str) else p for p in providers or ("cuda", "cpu")]
    usable = [p for p in asked if (p if isinstance(p, str) else p[0]) in available]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=usable or [PROVIDERS["cpu"]])
    except Exception as error:  # the runtime's exceptions share no base class
        raise InvalidModel(f"ONNX Runtime cannot open {path.name}: {_first_line(error)}") from None
    active = session.get_providers()
    for provider in asked if providers is not None else usable:
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
    """
    with _one_core:
        return _openvino_core()


@cache
def _openvino_core() -> openvino.Core:
    try:
        import openvino
    except ImportError:
        raise MissingExtra("the OpenVINO runtime needs: pip install 'u2net[openvino]'") from None
    _ = openvino.Tensor(np.zeros(1, np.float32)).data
    return openvino.Core()


def openvino_backend(
    path: Path, card: Card, threads: int | None, precision: Literal["fp32", "bf16", "int8"], folder: Path | None
) -> Backend:
    """A file in OpenVINO, which keeps what it compiles in `folder` if it may write there."""
    core = openvino_core()
    hint = "bf16" if precision == "bf16" else "f32"  # else OpenVINO rounds to what the processor likes best
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads
        # Threads are counted where several processes share the machine: tied to processors, all would take the first.
        properties["ENABLE_CPU_PINNING"] = False
    if folder is not None and _may_write(folder):
        # Blobs are found by a digest of model, properties and OpenVINO's version; damaged ones are compiled again.
        properties["CACHE_DIR"] = str(folder)
    try:
        model = core.read_model(path)
        shapes = [[d.get_length() if d.is_static else None for d in i.partial_shape] for i in model.inputs]
        kinds = [i.element_type.get_type_name() == "f32" for i in model.inputs]
        _check_ends(path, card, list(zip(kinds, shapes, strict=True)), len(model.outputs))
        # A network of one known size is compiled far better than one of any size.
        model.reshape([1, 3, *reversed(card.transform.size)])
        compiled = core.compile_model(model, "CPU", properties)
    except RuntimeError as error:
        raise InvalidModel(f"OpenVINO cannot open {path.name}: {_first_line(error)}") from None

    # A request serves one thread at a time. One is kept: to set its memory up takes a sixth of a picture's time.
    kept: queue.Queue[openvino.InferRequest] = queue.Queue(maxsize=1)

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            request = kept.get_nowait()
        except queue.Empty:
            request = compiled.create_infer_request()
        try:
            maps = np.concatenate([request.infer({0: part})[0].copy() for part in np.split(batch, len(batch))])
        except RuntimeError as error:
            raise InvalidModel(f"OpenVINO cannot run {path.name}: {_first_line(error)}") from None
        with suppress(queue.Full):
            kept.put_nowait(request)
        return maps

    return backend


def ncnn_backend(path: Path, card: Card, threads: int | None) -> Backend:
    """A file in ncnn, in fp32. Raises MissingExtra, and InvalidModel for all that is not like a U²-Net."""
    try:
        import ncnn
        import onnx
    except ImportError:
        raise MissingExtra("the ncnn runtime needs: pip install 'u2net[ncnn]'") from None
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if threads is not None:
        net.opt.num_threads = threads
    with TemporaryDirectory() as folder:
        try:
            model = fold_sizes(path, card.transform.size, Path(folder, "folded.onnx"))
        except Exception as error:  # ONNX Runtime's share no base class
            raise InvalidModel(f"ncnn cannot open {path.name}: {_first_line(error)}") from None
        types = [i.type.tensor_type for i in model.graph.input]
        ends = [(t.elem_type == onnx.TensorProto.FLOAT, [d.dim_value or None for d in t.shape.dim]) for t in types]
        _check_ends(path, card, ends, len(model.graph.output))
        try:
            graph = from_onnx(model)
        except (InvalidModel, KeyError, ValueError) as error:  # names and shapes that no exporter writes
            raise InvalidModel(f"ncnn cannot open {path.name}: {_first_line(error)}") from None
        weights = Path(folder, "weights")
        with weights.open("wb") as file:  # given in memory, ncnn would go on reading what Python has freed
            for values in graph.weights:
                file.write(np.ascontiguousarray(values).data)
        if net.load_param_mem(graph.layers) != 0 or net.load_model(str(weights)) != 0:
            raise InvalidModel(f"ncnn cannot open {path.name}")

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        maps = []
        for picture in np.ascontiguousarray(batch):
            extractor = net.create_extractor()  # serves one thread at a time
            extractor.input(graph.source, ncnn.Mat(picture).clone())  # layers may write over maps that ncnn owns alone
            failed, result = extractor.extract(graph.result)
            if failed:
                raise InvalidModel(f"ncnn cannot run {path.name}")
            maps.append(np.array(result))
        return np.stack(maps)

    return backend


def _may_write(folder: Path) -> bool:
    """Whether a folder is there, or could be made, and files can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


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
