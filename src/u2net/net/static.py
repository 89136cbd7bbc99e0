"""A graph for one picture of one size, as plain as other engines and integers need it: all sizes are constants."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def with_fixed_size(model: onnx.ModelProto, size: tuple[int, int]) -> onnx.ModelProto:
    """The model for a single picture of `size` = (width, height).

    Sizes that were computed, or belong to some axes, become constants of all four, which ONNX has had since opset 11.
    How maps are resized is written down: some engines do not take ONNX's default where nothing is said.
    """
    fixed = copy.deepcopy(model)
    graph = fixed.graph
    for value in (*graph.input, *graph.output):
        channels = value.type.tensor_type.shape.dim[1].dim_value
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, [1, channels, *reversed(size)]))
    found = _sizes(fixed)
    nodes = []
    for node in graph.node:
        (output,) = node.output
        if node.op_type == "Shape":
            graph.initializer.append(numpy_helper.from_array(found[output], output))
            continue
        if node.op_type == "Resize":
            graph.initializer.append(numpy_helper.from_array(found[output], f"{output}.sizes"))
            node = helper.make_node(
                "Resize",
                [node.input[0], "", "", f"{output}.sizes"],
                [output],
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            )
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return fixed


def _sizes(model: onnx.ModelProto) -> dict[str, NDArray[np.int64]]:
    """By the names of their outputs: what each Shape gives, and the shape of what each Resize gives; int64."""
    wanted = [node for node in model.graph.node if node.op_type in ("Shape", "Resize")]
    names = [node.output[0] for node in wanted]
    empty = np.zeros([side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim], np.float32)
    (given,) = run_tensors(model, [empty], names)
    return {
        node.output[0]: value if node.op_type == "Shape" else np.array(value.shape, np.int64)
        for node, value in zip(wanted, given, strict=True)
    }


def run_tensors(
    model: onnx.ModelProto, pictures: Iterable[NDArray[np.float32]], names: Sequence[str]
) -> Iterator[list[NDArray[Any]]]:
    """The named tensors of a graph, also those inside it, for each picture."""
    watched = copy.deepcopy(model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for picture in pictures:
        yield session.run(list(names), {model.graph.input[0].name: picture})
