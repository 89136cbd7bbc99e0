"""An ONNX file as ncnn reads networks: a text with a layer on each line, and their weights in the same order.

The text follows ncnn's pages "param and model file structure" and "operation param weight table", whose numbers its
parameters bear. Maps have no batch axis there, and a map that several layers take is handed out by one of its own.
Only what U²-Nets are made of is translated; all else is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidModel

if TYPE_CHECKING:
    import onnx

_MAGIC = 7767517  # of the text
_UNPACKED = np.zeros(1, np.float32)  # stands before a convolution's weights: they are plain float32
_BINARY = {"Add": 0, "Max": 4}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "Conv": {"auto_pad": b"NOTSET", "group": 1, "pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1]},
    "MaxPool": {"auto_pad": b"NOTSET", "pads": [0] * 4, "strides": [1, 1], "dilations": [1, 1], "ceil_mode": 0},
    "Resize": {
        "mode": b"nearest",
        "coordinate_transformation_mode": b"half_pixel",
        "antialias": 0,
        "keep_aspect_ratio_policy": b"stretch",
        "axes": [0, 1, 2, 3],
    },
    "Softmax": {"axis": -1},
}  # ONNX's
_U2NETS: dict[str, dict[str, Sequence[Any]]] = {
    "Conv": {"auto_pad": [b"NOTSET"], "group": [1]},
    "MaxPool": {
        "auto_pad": [b"NOTSET"],
        "kernel_shape": [[2, 2]],
        "pads": [[0] * 4],
        "strides": [[2, 2]],
        "dilations": [[1, 1]],
    },
    "Resize": {
        "mode": [b"linear"],
        "coordinate_transformation_mode": [b"half_pixel", b"pytorch_half_pixel"],
        "antialias": [0],
        "keep_aspect_ratio_policy": [b"stretch"],
        "axes": [[2, 3], [0, 1, 2, 3]],
    },
    "Concat": {"axis": [1]},
    "Softmax": {"axis": [1]},
}  # the values that attributes may have


@dataclass(frozen=True)
class NcnnGraph:
    """A network that makes one map of another."""

    layers: str
    weights: Sequence[NDArray[np.float32]]
    source: str
    """The name of the map to give."""
    result: str
    """The name of the map to ask for."""


def fold_sizes(path: Path, size: tuple[int, int], target: Path) -> onnx.ModelProto:
    """The model of a file for pictures of `size` = (width, height), without what depends on no picture.

    ONNX Runtime computes that, among it the sizes of maps, and writes the rest to `target`; it raises what it likes
    for files that it cannot open.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors come back as exceptions
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC  # to ONNX's own operators
    options.optimized_model_filepath = str(target)
    for name, length in zip(("width", "height", "batch"), (*size, 1), strict=True):
        options.add_free_dimension_override_by_name(name, length)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return onnx.load(target)


def from_onnx(model: onnx.ModelProto) -> NcnnGraph:
    """The first output of a model as `fold_sizes` gives it; what leads to its others alone is left out.

    Raises InvalidModel for operators, and uses of them, that no U²-Net has.
    """
    graph = model.graph
    writer = _Writer(graph)
    for node in writer.nodes:
        writer.add(node)
    (result,) = writer.take([graph.output[0].name])
    head = f"{_MAGIC}\n{len(writer.lines)} {writer.num_maps}\n"
    return NcnnGraph(head + "".join(writer.lines), writer.weights, writer.source, result)


class _Writer:
    """Writes down the layers of a graph, one node after the other.

    Names are ONNX's, but in `source`, `waiting`, `take` and the lines: those of ncnn are numbers.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        from onnx import numpy_helper

        result = graph.output[0].name
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.nodes = _leading_to(result, graph.node)
        self.uses = Counter([result, *(name for node in self.nodes for name in node.input)])
        self.relus = {n.input[0]: n.output[0] for n in self.nodes if n.op_type == "Relu" and self.uses[n.input[0]] == 1}
        self.lines: list[str] = []
        self.weights: list[NDArray[np.float32]] = []
        self.num_maps = 0
        self.waiting: dict[str, list[str]] = {}
        """The maps of each name, one for each use that is to come."""
        self.source = self.layer("Input", [], graph.input[0].name)

    def add(self, node: onnx.NodeProto) -> None:
        """Write the layer of a node."""
        attributes = _attributes(node)
        kind, inputs, (output,) = f"{node.domain}{node.op_type}", node.input, node.output
        if kind == "Conv":
            self.convolution(node, attributes)
        elif kind == "Relu":
            if output not in self.waiting:  # else its convolution has done it
                self.layer("ReLU", inputs, output)
        elif kind == "MaxPool":
            self.layer("Pooling", inputs, output, {0: 0, 1: 2, 2: 2, 5: 0 if attributes["ceil_mode"] else 1})
        elif kind == "Resize" and len(inputs) == 4:
            height, width = self.constants[inputs[3]][-2:].tolist()
            self.layer("Interp", inputs[:1], output, {0: 2, 3: height, 4: width})
        elif kind == "Concat":
            self.layer("Concat", inputs, output, {0: 0})
        elif kind in _BINARY and len(inputs) == 2:
            self.layer("BinaryOp", inputs, output, {0: _BINARY[kind]})
        elif kind == "Sigmoid":
            self.layer("Sigmoid", inputs, output)
        elif kind == "Softmax":
            self.layer("Softmax", inputs, output, {0: 0, 1: 1})
        else:
            raise InvalidModel(f"no U²-Net has such a {kind}")

    def convolution(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Write a convolution, and the ReLU behind it as part of it."""
        weight, *bias = (self.constants[name] for name in node.input[1:])
        top, left, bottom, right = attributes["pads"]
        stride_y, stride_x = attributes["strides"]
        dilation_y, dilation_x = attributes["dilations"]
        num_outputs, _, height, width = weight.shape
        (output,) = node.output
        parameters = {0: num_outputs, 1: width, 2: dilation_x, 3: stride_x, 4: left, 5: len(bias), 6: weight.size}
        parameters |= {9: int(output in self.relus), 11: height, 12: dilation_y, 13: stride_y}
        parameters |= {14: top, 15: right, 16: bottom}
        self.layer("Convolution", node.input[:1], self.relus.get(output, output), parameters)
        self.weights += [_UNPACKED, weight, *bias]

    def layer(self, kind: str, inputs: Sequence[str], output: str, parameters: dict[int, int] | None = None) -> str:
        """Write a layer, and one that hands its map out if that has several uses; what ncnn calls the map."""
        (name,) = self.line(kind, self.take(inputs), 1, parameters or {})
        uses = self.uses[output]
        self.waiting[output] = self.line("Split", [name], uses, {}) if uses > 1 else [name]
        return name

    def take(self, names: Sequence[str]) -> list[str]:
        """What ncnn calls maps, for one use of each. Constants become maps when they are first taken."""
        for name in names:
            if name in self.constants and name not in self.waiting:
                value = self.constants[name]
                if value.dtype != np.float32 or value.ndim != 4 or len(value) != 1:
                    raise InvalidModel(f"no U²-Net has a constant of shape {value.shape}")
                self.weights.append(value)
                self.layer("MemoryData", [], name, dict(enumerate(reversed(value.shape[1:]))))
        return [self.waiting[name].pop() for name in names]

    def line(self, kind: str, inputs: Sequence[str], num_outputs: int, parameters: dict[int, int]) -> list[str]:
        """Write a line; the names of the maps that it makes."""
        outputs = [str(self.num_maps + i) for i in range(num_outputs)]
        self.num_maps += num_outputs
        values = [f"{number}={value}" for number, value in parameters.items()]
        counts = [str(len(inputs)), str(num_outputs)]
        self.lines.append(" ".join([kind, f"layer{len(self.lines)}", *counts, *inputs, *outputs, *values]) + "\n")
        return outputs


def _leading_to(name: str, nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes on which a tensor depends, in their order."""
    needed = {name}
    found = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            found.append(node)
            needed.update(node.input)
    return found[::-1]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes, ONNX's defaults among them. Raises InvalidModel for what no U²-Net has."""
    from onnx import helper

    found = _DEFAULTS.get(node.op_type, {}) | {a.name: helper.get_attribute_value(a) for a in node.attribute}
    for name, allowed in _U2NETS.get(node.op_type, {}).items():
        if found.get(name) not in allowed:
            raise InvalidModel(f"no U²-Net has a {node.op_type} with {name} {found.get(name)}")
    return found
