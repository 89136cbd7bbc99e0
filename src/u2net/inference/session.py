"""A model ready to run: any runtime behind one callable, fed and read by the model's own Transform."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from u2net.backends import Backend, ncnn_backend, onnxruntime_backend, openvino_backend
from u2net.card import METADATA_KEY, Card
from u2net.confidence import subject_confidence
from u2net.errors import InvalidModel, SessionClosed
from u2net.image import ImageData, Picture, load_image
from u2net.onnx_file import read_metadata
from u2net.runtime import Precision, Runtime, choose
from u2net.transform import Transform

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["Backend", "Precision", "Prediction", "Runtime", "Session", "open_session", "read_card"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """What one look of the network at a picture gave."""

    mask: NDArray[np.uint8]
    """The saliency in grey levels, (H, W), as `Session.mask` gives it."""
    confidence: float
    """The probability that the picture shows a subject at all, by `u2net.confidence`; 0 to 1."""
    output: NDArray[np.float32] | None = None
    """What the network put out, (C, h, w), to be read more finely; None for a mean of several looks."""


class Session:
    """Turns pictures into maps of their size. May be used by several threads at once.

    As a context manager it closes itself.
    """

    def __init__(self, backend: Backend, card: Card) -> None:
        self.backend = backend
        self.card = card

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the runtime, its memory and its threads; maps that are being made are finished.

        Pictures given afterwards raise SessionClosed. May be called again.
        """
        self.backend = _closed

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

    def predict(self, image: ImageData | Picture) -> Prediction:
        """The mask of a picture, and how sure the network is that there is a subject; raises as `saliency` does."""
        ((size, output),) = self._outputs([image], 1)
        transform = self.card.transform
        confidence = subject_confidence(transform.probability(output), self.card.sharpness)
        return Prediction(transform.mask(output, size), confidence, output)

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
            batch = np.stack([self._see(picture) for picture in pictures])
            outputs = self.backend(batch)
            _check_outputs(outputs, len(batch), self.card)
            for picture, output in zip(pictures, outputs, strict=True):
                yield picture.size, output

    def _see(self, picture: Picture) -> NDArray[np.float32]:
        """What the network takes; colours are converted for the pixels alone that the Transform reads."""
        transform = self.card.transform
        samples = transform.samples(picture.size)
        if samples is None:
            return transform.preprocess(picture.view())
        return transform.preprocess(picture.at(*samples).view(), picture.size)


def _closed(_batch: NDArray[np.float32]) -> NDArray[np.float32]:
    raise SessionClosed("the session is closed")


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
    precision: Precision = "auto",
    threads: int | None = None,
    providers: Sequence[str] | None = None,
    session_options: onnxruntime.SessionOptions | None = None,
    transform: Transform | None = None,
    cache: Path | None = None,
) -> Session:
    """Open an ONNX file. Its card is its own, else the one given, else one with the authors' Transform.

    `transform` replaces the card's. `runtime` and `precision` are as `u2net.runtime.choose` says: "auto" for both
    takes what is fastest here, and gives maps that may differ by some grey levels from those of "fp32", which every
    runtime gives alike. `threads` of None lets the runtime choose; `OMP_NUM_THREADS` is obeyed. `providers`, ONNX
    Runtime's or their short names in `u2net.backends.PROVIDERS`, and `session_options` are ONNX Runtime's; options are
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
