"""The network in the forms of other engines: what writes each and what runs it, by the suffix of the file.

To add one, write both functions in a module of their own, and give them a row in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from u2net.engines.coreml import write_coreml
from u2net.engines.litert import open_litert, write_litert
from u2net.engines.ncnn import open_ncnn, write_ncnn
from u2net.engines.openvino_ir import open_openvino, write_openvino

if TYPE_CHECKING:
    import onnx

    from u2net.models.transform import Backend


class Engine(NamedTuple):
    """What is known of an engine's form."""

    name: str
    write: Callable[[onnx.ModelProto, Path], None]
    """Writes a plain graph of one size, as `u2net.net.export.to_onnx` makes it with `static`. Raises MissingExtra."""
    open: Callable[[Path], Backend] | None
    """Opens what was written; None where the engine runs on other systems alone. Raises MissingExtra."""
    beside: tuple[str, ...] = ()
    """Suffixes of further files that belong to it."""


ENGINES = {
    ".xml": Engine("OpenVINO", write_openvino, open_openvino, (".bin",)),
    ".tflite": Engine("LiteRT", write_litert, open_litert),
    ".param": Engine("ncnn", write_ncnn, open_ncnn, (".bin",)),
    ".mlpackage": Engine("Core ML", write_coreml, None),
}
"""Every form, by its suffix."""


def files_of(path: Path) -> list[Path]:
    """The files of a form whose chief file is `path`: what the engine reads, and the card."""
    return [path, *(path.with_suffix(suffix) for suffix in ENGINES[path.suffix].beside), card_beside(path)]


def card_beside(path: Path) -> Path:
    """The place of a form's card, as JSON: how to feed it, and what is known of its weights."""
    return path.with_name(f"{path.name}.json")
