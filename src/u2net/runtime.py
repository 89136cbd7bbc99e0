"""The runtimes, each of which makes a backend of an ONNX file, and the choice among them and their precisions."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from u2net.card import METADATA_KEY, PRECISION_KEY, Card
from u2net.errors import InvalidModel, MissingExtra
from u2net.ncnn_graph import fold_sizes, from_onnx
from u2net.onnx_file import read_metadata

if TYPE_CHECKING:
    import onnxruntime
    import openvino

Backend = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (B, 3, H, W) in, float32 (B, C, H, W) out: C is 1 for saliency, else the number of classes."""

Runtime = Literal["auto", "onnxruntime", "openvino", "ncnn"]
"""What runs a model. "auto" is OpenVINO where it is installed, else ONNX Runtime; ncnn is only ever asked for."""

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""In what numbers it computes. "auto" leaves fp32 only if the runtime is "auto" too, as `choose` says."""

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


def choose(
    path: Path, size: tuple[int, int], runtime: Runtime, precision: Precision
) -> tuple[Path, Literal["onnxruntime", "openvino", "ncnn"], Literal["fp32", "bf16", "int8"]]:
    """File, runtime and precision for pictures of `size` = (width, height).

    Nothing is changed that was named. Otherwise OpenVINO is taken where it is installed and there is no GPU for ONNX
    Runtime; and integers, if runtime and precision are both left open, OpenVINO is taken, the processor multiplies
    bytes without loss, and beside `NAME.onnx` there is a `NAME-int8.onnx` of the same weights for this size.
    bfloat16 and ncnn, which knows float32 alone, are only ever asked for.

    Raises ValueError for a runtime or precision that does not exist or cannot be had here, InvalidModel if there is
    no file of integers.
    """
    for kind, found, known in (("runtime", runtime, get_args(Runtime)), ("precision", precision, get_args(Precision))):
        if found not in known:
            raise ValueError(f"{kind} is one of {', '.join(known)}, got {found!r}")
    chosen = runtime
    if chosen == "auto":
        chosen = "openvino" if find_spec("openvino") and not _has_gpu() else "onnxruntime"
    has_integers = read_metadata(path).get(PRECISION_KEY) == "int8"
    if chosen == "ncnn" and (has_integers or precision in ("bf16", "int8")):
        raise ValueError("ncnn computes in fp32 alone")
    if has_integers:
        if precision not in ("auto", "int8"):
            raise ValueError(f"{path.name} computes with integers, not in {precision}")
        return path, chosen, "int8"
    if precision == "bf16":
        if chosen != "openvino" or "BF16" not in _capabilities():
            raise ValueError("bf16 needs the runtime openvino and a processor that computes with it")
        return path, chosen, precision
    beside = integers_beside(path)
    if precision == "int8":
        if not _serves(beside, path, size):
            raise InvalidModel(f"there is no {beside.name} of the same weights and size: u2net export --int8 makes it")
        return beside, chosen, precision
    if runtime == precision == "auto" and chosen == "openvino" and _serves(beside, path, size) and _multiplies_bytes():
        return beside, chosen, "int8"
    return path, chosen, "fp32"


def integers_beside(path: Path) -> Path:
    """Where the same network in integers would be."""
    return path.with_name(f"{path.stem}-int8.onnx")


def _serves(integers: Path, path: Path, size: tuple[int, int]) -> bool:
    """Whether a file is there that has the weights of another, in integers, for pictures of this size."""
    if not integers.is_file():
        return False
    ours, theirs = read_metadata(integers), read_metadata(path)
    if ours.get(PRECISION_KEY) != "int8" or METADATA_KEY not in ours or METADATA_KEY not in theirs:
        return False
    try:
        card, expected = Card.from_json(ours[METADATA_KEY]), Card.from_json(theirs[METADATA_KEY])
    except ValueError:
        return False
    return card.sha256 == expected.sha256 != "" and card.transform.size == size


def _has_gpu() -> bool:
    import onnxruntime

    return PROVIDERS["cuda"] in onnxruntime.get_available_providers()


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


def _capabilities() -> list[str]:
    return list(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _multiplies_bytes() -> bool:
    """Whether the processor has VNNI: without it, sums of products of bytes are cut at 16 bits, and maps suffer."""
    if "BF16" in _capabilities():  # which no x86 processor has without
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


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
