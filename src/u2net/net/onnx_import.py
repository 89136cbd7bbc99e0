"""U²-Net read back from an ONNX file, such as those that rembg publishes.

There the batch normalisation is folded into the convolutions and most weights have lost their names. The file's
graph and that of our own network are walked side by side from the fused map to the input; where they meet at a
convolution, its weights are taken. A file whose graph differs anywhere is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from u2net.errors import InvalidModel
from u2net.models.onnx_file import OnnxFile
from u2net.net.checkpoint import Checkpoint, build, describe, paper_table, skeleton
from u2net.net.constant_channels import add_levels
from u2net.net.export import to_graph, widen
from u2net.net.model import U2NETP, Stage

_ACTIVATIONS = {"Sigmoid", "Softmax", "LogSoftmax"}  # may stand behind the fused map, or not
_WINDOW = {"auto_pad": b"NOTSET", "dilations": [1, 1], "pads": [0] * 4, "strides": [1, 1]}
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Conv": {**_WINDOW, "group": 1},
    "MaxPool": {**_WINDOW, "ceil_mode": 0, "kernel_shape": None},
    "Concat": {"axis": None},
    "Resize": {
        "antialias": 0,
        "coordinate_transformation_mode": b"half_pixel",
        "keep_aspect_ratio_policy": b"stretch",
        "mode": b"nearest",
    },
}  # what must agree, with ONNX's defaults
_MAPS_ONLY_FIRST = {"Conv", "Relu", "MaxPool", "Resize"}  # their other inputs are weights and sizes


def load_onnx(path: Path, stages: Sequence[Stage] | None = None) -> Checkpoint:
    """The network of an ONNX file, as `u2net.net.load_checkpoint` describes."""
    if stages is not None:
        skeleton(stages, 1)  # an impossible table is the caller's mistake, not the file's
    file = OnnxFile.read(path)  # refuses weights in other files
    try:
        card = file.card()
        graph = onnx.load(path, load_external_data=False).graph
        widen(graph)
        add_levels(graph)
        theirs = _Graph(graph)
        stages = stages or _table(theirs)
        num_classes = len(theirs.weight(theirs.convolutions[-1], 1))
        ours = skeleton(stages, num_classes)
        state = _take_weights(to_graph(ours)[0], theirs)
        for name, module in ours.named_modules():
            if isinstance(module, nn.BatchNorm2d):  # nothing left to do: its work is in the convolution
                identity = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - module.eps}
                state |= {f"{name}.{key}": torch.full((module.num_features,), v) for key, v in identity.items()}
                state[f"{name}.num_batches_tracked"] = torch.tensor(0)
        network = build(state, stages, num_classes)
        return Checkpoint(network, describe(network, card))
    except InvalidModel:
        raise
    except Exception as error:  # protobuf's, numpy's, and those of graphs that no exporter writes
        raise InvalidModel("damaged, or not an ONNX model") from error


class _Graph:
    """An ONNX graph by its edges."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.producers = {name: node for node in graph.node for name in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {value.name for value in graph.input} - set(self.constants)
        self.convolutions = [node for node in graph.node if node.op_type == "Conv"]
        self.fused = graph.output[0].name
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = node.attribute[0].t
        if not self.convolutions:
            raise InvalidModel("holds no convolutions")

    def weight(self, convolution: onnx.NodeProto, index: int) -> Tensor:
        """Its weights (index 1) or biases (index 2); absent biases are zeros."""
        if index == 2 and len(convolution.input) == 2:
            return torch.zeros(len(self.weight(convolution, 1)))
        try:
            return torch.from_numpy(numpy_helper.to_array(self.constants[convolution.input[index]]).copy())
        except (IndexError, KeyError, ValueError, TypeError):
            raise InvalidModel(f"the weights of {convolution.name or 'a convolution'} are missing") from None


def _table(theirs: _Graph) -> tuple[Stage, ...]:
    """The paper's heights with the file's widths, convolutions being in the order in which they are run."""
    nodes, _ = to_graph(skeleton(U2NETP, 1))
    keys = [node.input[1] for node in nodes if node.op_type == "Conv"]
    if len(theirs.convolutions) != len(keys):
        raise InvalidModel(f"holds {len(theirs.convolutions)} convolutions, a U²-Net {len(keys)}")
    shapes = {key: theirs.weight(c, 1).shape for key, c in zip(keys, theirs.convolutions, strict=True)}
    try:
        table = paper_table(lambda key: shapes[key])
        skeleton(table, 1)
    except (ValueError, IndexError):
        raise InvalidModel("its convolutions do not fit each other as those of a U²-Net do") from None
    return table


def _take_weights(nodes: list[onnx.NodeProto], theirs: _Graph) -> dict[str, Tensor]:
    """Their weights under our keys. Raises InvalidModel where the graphs differ."""
    producers = {node.output[0]: node for node in nodes}
    state: dict[str, Tensor] = {}
    met: dict[str, str] = {}
    pairs = [(_before_activation("saliency", producers), _before_activation(theirs.fused, theirs.producers))]
    while pairs:
        our_name, their_name = pairs.pop()
        if our_name in met:
            if met[our_name] != their_name:
                raise InvalidModel(f"not the graph of a U²-Net: {met[our_name]} and {their_name} should be one map")
            continue
        met[our_name] = their_name
        if our_name == "input" and their_name in theirs.inputs:
            continue
        ours, their = producers.get(our_name), theirs.producers.get(their_name)
        if ours is None or their is None or _kind(ours) != _kind(their):
            raise InvalidModel(f"not the graph of a U²-Net: {_describe(their)} where {_describe(ours)} should be")
        if ours.op_type == "Conv":
            state |= {key: theirs.weight(their, index) for index, key in enumerate(ours.input) if index}
        our_maps, their_maps = _maps(ours), _maps(their)
        if len(our_maps) != len(their_maps):
            raise InvalidModel(f"not the graph of a U²-Net: {_describe(their)} has {len(their_maps)} inputs")
        pairs += zip(our_maps, their_maps, strict=True)
    return state


def _before_activation(name: str, producers: dict[str, onnx.NodeProto]) -> str:
    node = producers.get(name)
    return node.input[0] if node is not None and node.op_type in _ACTIVATIONS else name


def _kind(node: onnx.NodeProto) -> tuple[str, str, dict[str, Any]]:
    """Domain, operation and the attributes that matter, defaults filled in."""
    attributes = dict(_ATTRIBUTES.get(node.op_type, {}))
    for attribute in node.attribute:
        if attribute.name in attributes:
            attributes[attribute.name] = helper.get_attribute_value(attribute)
    if attributes.get("coordinate_transformation_mode") == b"pytorch_half_pixel":
        attributes["coordinate_transformation_mode"] = b"half_pixel"  # they differ for outputs of one pixel only
    return node.domain.replace("ai.onnx", ""), node.op_type, attributes


def _maps(node: onnx.NodeProto) -> list[str]:
    return list(node.input[:1] if node.op_type in _MAPS_ONLY_FIRST else node.input)


def _describe(node: onnx.NodeProto | None) -> str:
    return "nothing" if node is None else f"{node.op_type} {node.name}".strip()
