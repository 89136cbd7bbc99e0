"""A model ready to run: any runtime behind one callable, fed and read by the model's own Transform."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from u2net.card import METADATA_KEY, Card
from u2net.errors import InvalidModel, MissingExtra
from u2net.image import ImageData, Picture, load_image
from u2net.onnx_file import read_metadata
from u2net.transform import Transform

if TYPE_CHECKING:
    import onnxruntime

Backend = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (B, 3, H, W) in, float32 (B, C, H, W) out: C is 1 for saliency, else the number of classes."""

Runtime = Literal["onnxruntime", "openvino"]

_log = logging.getLogger(__name__)


class Session:
    """Turns pictures into maps of their size. May be used by several threads at once."""

    def __init__(self, backend: Backend, card: Card) -> None:
        self.backend = backend
        self.card = card

    def saliency(self, image: ImageData | Picture) -> NDArray[np.float32]:
        """How much each pixel belongs to the subject: float32 (H, W) in [0, 1], at the upright picture's size.

        Raises InvalidImage for what is not an acceptable picture.
        """
        ((size, output),) = self._outputs([image], 1)
        return self.card.transform.saliency(output, size)

    def saliencies(self, images: Iterable[ImageData | Picture], batch_size: int = 8) -> Iterator[NDArray[np.float32]]:
        """The saliency of each picture in turn; `batch_size` of them at a time go through the network.

        Raises ValueError for a `batch_size` below 1, and for each picture what `saliency` does.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is 1 or more, got {batch_size}")
        transform = self.card.transform
        return (transform.saliency(output, size) for size, output in self._outputs(images, batch_size))

    def mask(self, image: ImageData | Picture) -> NDArray[np.uint8]:
        """The saliency in grey levels: uint8 (H, W), 0 to 255, as the model's authors write it."""
        ((size, output),) = self._outputs([image], 1)
        return self.card.transform.mask(output, size)

    def labels(self, image: ImageData | Picture) -> NDArray[np.uint8]:
        """The class of each pixel: uint8 (H, W), indices into `card.classes`."""
        ((size, output),) = self._outputs([image], 1)
        return self.card.transform.labels(output, size)

    def _outputs(
        self, images: Iterable[ImageData | Picture], batch_size: int
    ) -> Iterator[tuple[tuple[int, int], NDArray[np.float32]]]:
        pending = iter(images)
        while group := list(islice(pending, batch_size)):
            pictures = [image if isinstance(image, Picture) else load_image(image) for image in group]
            batch = np.stack([self.card.transform.preprocess(picture.view()) for picture in pictures])
            outputs = self.backend(batch)
            _check_outputs(outputs, len(batch), self.card)
            for picture, output in zip(pictures, outputs, strict=True):
                yield picture.size, output


def _check_outputs(outputs: NDArray[np.float32], num: int, card: Card) -> None:
    """Raise InvalidModel unless a backend gave maps, finite ones, as many as there are pictures and classes."""
    if outputs.ndim != 4 or len(outputs) != num or outputs.size == 0:
        raise InvalidModel(f"{card.name} puts out the shape {outputs.shape} for {num} pictures, not (B, C, H, W)")
    if outputs.shape[1] not in (1, len(card.classes)):
        raise InvalidModel(f"{card.name} puts out {outputs.shape[1]} maps for {len(card.classes)} classes")
    if not np.isfinite(outputs).all():
        raise InvalidModel(f"{card.name} puts out values that are not finite")


def open_session(
    path: str | PathLike[str],
    card: Card | None = None,
    *,
    runtime: Runtime = "onnxruntime",
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    session_options: onnxruntime.SessionOptions | None = None,
    transform: Transform | None = None,
) -> Session:
    """Open an ONNX file. Its card is its own, else the one given, else one with the authors' Transform.

    `transform` replaces the card's. `threads` of None lets the runtime choose; `OMP_NUM_THREADS` is obeyed.
    `providers` and `session_options` are ONNX Runtime's; options are taken as they are, threads included.

    Raises InvalidModel for what is not a model of this kind, MissingExtra for a runtime that is not installed,
    OSError for a file that cannot be read.
    """
    if runtime not in get_args(Runtime):
        raise ValueError(f"runtime is one of {', '.join(get_args(Runtime))}, got {runtime!r}")
    if runtime != "onnxruntime" and (providers is not None or session_options is not None):
        raise ValueError("providers and session_options are for ONNX Runtime")
    if (threads is not None and threads < 1) or (providers is not None and not providers):
        raise ValueError("threads is 1 or more, and providers are at least one")
    path = Path(path)
    card = read_card(path, card)
    if transform is not None:
        card = replace(card, transform=transform)
    if threads is None:
        threads = _threads_from_environment()
    if runtime == "openvino":
        return Session(_openvino_backend(path, card, threads), card)
    return Session(_onnxruntime_backend(path, card, threads, providers, session_options), card)


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


def _onnxruntime_backend(
    path: Path,
    card: Card,
    threads: int | None,
    providers: Sequence[str] | None,
    options: onnxruntime.SessionOptions | None,
) -> Backend:
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
    if providers is None:
        available = onnxruntime.get_available_providers()
        providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=list(providers))
    except Exception as error:  # the runtime's exceptions share no base class
        raise InvalidModel(f"ONNX Runtime cannot open {path.name}: {_first_line(error)}") from None
    if isinstance(providers[0], str) and providers[0] not in session.get_providers():
        _log.warning("%s was asked for but could not be loaded; running on the CPU", providers[0])
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


def _openvino_backend(path: Path, card: Card, threads: int | None) -> Backend:
    try:
        import openvino
    except ImportError:
        raise MissingExtra("the OpenVINO runtime needs: pip install 'u2net[openvino]'") from None
    core = openvino.Core()
    properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        properties["INFERENCE_NUM_THREADS"] = threads
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

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        request = compiled.create_infer_request()  # a request serves one thread at a time
        try:
            return np.concatenate([request.infer({0: part})[0].copy() for part in np.split(batch, len(batch))])
        except RuntimeError as error:
            raise InvalidModel(f"OpenVINO cannot run {path.name}: {_first_line(error)}") from None

    return backend


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
