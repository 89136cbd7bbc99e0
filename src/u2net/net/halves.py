"""Weights of convolutions kept in 16 bits: half the file, the same graph, computed in float32 as before.

Each such weight is a float16 tensor and a `Cast`, which runtimes carry out once, when they open the file.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from u2net.errors import InvalidModel

_HALF = ".half"  # behind the name of a weight that is kept in 16 bits


def is_halved(name: str) -> bool:
    """Whether the tensor of that name is kept in 16 bits: convolutions' weights are, biases are not."""
    return name.endswith(".weight")


def rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float32 weights by name, those that are kept in 16 bits as they come back from there.

    Raises InvalidModel for numbers that are too large.
    """
    kept = {name: value.half().float() if is_halved(name) else value for name, value in weights.items()}
    for name, value in kept.items():
        if not value.isfinite().all():
            raise InvalidModel(f"{name} holds numbers beyond 65,504, the largest of 16 bits")
    return kept


def halve(graph: onnx.GraphProto) -> None:
    """Keep weights in 16 bits. They are as `rounded` gives them, so that nothing is lost here."""
    casts = []
    for tensor in graph.initializer:
        if is_halved(name := tensor.name):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), name + _HALF))
            casts.append(helper.make_node("Cast", [name + _HALF], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def widen(graph: onnx.GraphProto) -> None:
    """Put float32 weights back in place: the inverse of `halve`. Other graphs stay as they are."""
    tensors = {tensor.name: tensor for tensor in graph.initializer if tensor.name.endswith(_HALF)}
    kept = []
    for node in graph.node:
        tensor = tensors.get(node.input[0]) if node.op_type == "Cast" else None
        if tensor is None:
            kept.append(node)
        else:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), node.output[0]))
    if tensors:
        del graph.node[:]
        graph.node.extend(kept)
