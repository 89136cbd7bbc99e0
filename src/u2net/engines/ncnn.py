"""ncnn: a text with a layer on each line (`.param`), and their weights in the same order (`.bin`).

The text follows ncnn's pages "param and model file structure" and "operation param weight table", whose numbers its
parameters bear. Maps have no batch axis there, and a map that several layers take is handed out by a layer of its own.
Written here and not by pnnx, ncnn's own converter: our plain graphs have few operations, and so no package is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from u2net.engines.steps import Step, steps_of
from u2net.errors import InvalidModel, MissingExtra

if TYPE_CHECKING:
    import onnx

    from u2net.models.transform import Backend

_MAGIC = 7767517  # of the text
_UNPACKED = np.zeros(1, np.float32)  # stands before a convolution's weights: they are plain float32


def write_ncnn(model: onnx.ModelProto, path: Path) -> None:
    """Write a plain graph of ours to `path` and to `NAME.bin` beside it; its ends are called `input` and `saliency`."""
    writer = _Writer(list(steps_of(model)))
    path.write_text(f"{_MAGIC}\n{len(writer.lines)} {writer.num_maps}\n{''.join(writer.lines)}", encoding="ascii")
    with path.with_suffix(".bin").open("wb") as file:
        for values in writer.weights:
            file.write(np.ascontiguousarray(values).data)


def open_ncnn(path: Path) -> Backend:
    """Such a file in ncnn, in float32. Raises MissingExtra if it is not installed, InvalidModel."""
    try:
        import ncnn
    except ImportError:
        raise MissingExtra("comparing ncnn's maps with torch's needs: pip install 'u2net[ncnn]'") from None
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(path)) != 0 or net.load_model(str(path.with_suffix(".bin"))) != 0:
        raise InvalidModel(f"ncnn cannot open {path.name}")

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        maps = []
        for picture in np.ascontiguousarray(batch):
            extractor = net.create_extractor()
            extractor.input("input", ncnn.Mat(picture).clone())  # layers may write over maps that ncnn owns alone
            failed, result = extractor.extract("saliency")
            if failed:
                raise InvalidModel(f"ncnn cannot run {path.name}")
            maps.append(np.array(result))
        return np.stack(maps)

    return backend


class _Writer:
    """Writes down the layers, one after the other."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.uses = Counter(name for step in steps for name in step.inputs)
        self.lines: list[str] = []
        self.weights: list[NDArray[np.float32]] = []
        self.num_maps = 0
        self.waiting: dict[str, list[str]] = {}
        """By the name of a map: ncnn's names, one for each use that is to come."""
        self._layer("Input", (), "input", {})
        for step in steps:
            kind, parameters = _layer_of(step)
            self._layer(kind, step.inputs, step.output, parameters)
            if step.weight is not None and step.bias is not None:
                self.weights += [_UNPACKED, step.weight, step.bias]

    def _layer(self, kind: str, inputs: Sequence[str], output: str, parameters: dict[int, int]) -> None:
        """Write a layer, and one that hands its map out if that has several uses."""
        self._line(kind, [self.waiting[name].pop() for name in inputs], [output], parameters)
        uses = self.uses[output]
        self.waiting[output] = [f"{output}.{i}" for i in range(uses)] if uses > 1 else [output]
        if uses > 1:
            self._line("Split", [output], self.waiting[output], {})

    def _line(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], parameters: dict[int, int]) -> None:
        self.num_maps += len(outputs)
        values = [f"{number}={value}" for number, value in sorted(parameters.items())]
        counts = [str(len(inputs)), str(len(outputs))]
        self.lines.append(" ".join([kind, f"layer{len(self.lines)}", *counts, *inputs, *outputs, *values]) + "\n")


def _layer_of(step: Step) -> tuple[str, dict[int, int]]:
    """What ncnn calls a step, and its parameters."""
    if step.weight is not None:
        side = step.weight.shape[-1]
        padding = step.dilation * (side // 2)
        parameters = {0: step.channels, 1: side, 2: step.dilation, 4: padding, 5: 1, 6: step.weight.size}
        return "Convolution", parameters | {9: int(step.has_relu)}
    if step.kind == "Resize":
        return "Interp", {0: 2, 3: step.height, 4: step.width}
    return {
        "MaxPool": ("Pooling", {0: 0, 1: 2, 2: 2, 5: 0}),
        "Concat": ("Concat", {0: 0}),
        "Add": ("BinaryOp", {0: 0}),
        "Sigmoid": ("Sigmoid", {}),
        "Softmax": ("Softmax", {0: 0, 1: 1}),
    }[step.kind]
