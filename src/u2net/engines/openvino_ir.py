"""OpenVINO's own form: the graph (`.xml`) and its weights (`.bin`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from u2net.inference.runtimes import openvino_core

if TYPE_CHECKING:
    import onnx

    from u2net.models.transform import Backend


def write_openvino(model: onnx.ModelProto, path: Path) -> None:
    """Write a plain graph of ours to `path` and to `NAME.bin` beside it, in float32. Raises MissingExtra."""
    core = openvino_core()
    import openvino

    openvino.save_model(core.read_model(model.SerializeToString()), path, compress_to_fp16=False)


def open_openvino(path: Path) -> Backend:
    """Such a file in OpenVINO, in float32."""
    compiled = openvino_core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([compiled(part)[0].copy() for part in np.split(batch, len(batch))])

    return backend
