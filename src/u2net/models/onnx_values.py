"""The values of small tensors, of which the shapes in an ONNX graph are made, computed with numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from u2net.models.onnx_graph import SMALL, TYPES, Node

Shape = tuple[int, ...]
Value = NDArray[Any]


def _gather(node: Node, data: Value, indices: Value) -> Value:
    return np.take(data, indices.astype(np.int64), axis=node.number("axis"))


def _sliced(node: Node, data: Value, *rest: Value) -> Value:
    starts, ends, axes, steps = (
        [int(n) for n in (rest[i].reshape(-1) if i < len(rest) else node.numbers(name, []))]
        for i, name in enumerate(("starts", "ends", "axes", "steps"))
    )
    index = [slice(None)] * data.ndim
    for i, axis in enumerate(axes or range(len(starts))):
        index[axis] = slice(starts[i], ends[i], steps[i] if steps else 1)
    return data[tuple(index)]


def _axes(node: Node, rest: tuple[Value, ...]) -> Shape:
    return tuple(int(axis) for axis in (rest[0].reshape(-1) if rest else node.numbers("axes", [])))


def _divided(_node: Node, a: Value, b: Value) -> Value:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if min(a.min(), b.min()) < 0:  # which numpy and runtimes round to different sides
        raise ValueError("a negative size")
    return np.asarray(a // b)


_ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum,
}  # fmt: skip

_UNTOLD = np.zeros(SMALL + 1)
"""Stands for a value that shapes are not made of."""

VALUES: dict[str, Callable[..., Any]] = {
    **{name: lambda _node, *given, function=function: function(*given) for name, function in _ELEMENTWISE.items()},
    "Constant": lambda node: _UNTOLD if node.value is None else node.value,
    "Div": _divided,
    "Floor": lambda _node, data: np.floor(data),
    "Ceil": lambda _node, data: np.ceil(data),
    "Identity": lambda _node, data: data,
    "Cast": lambda node, data: data.astype(TYPES[to]) if (to := node.number("to")) in TYPES else _UNTOLD,
    "Concat": lambda node, *given: np.concatenate(given, axis=node.number("axis")),
    "Gather": _gather,
    "Slice": _sliced,
    "Unsqueeze": lambda node, data, *rest: np.expand_dims(data, _axes(node, rest)),
    "Squeeze": lambda node, data, *rest: np.squeeze(data, _axes(node, rest) or None),
    "Reshape": lambda _node, data, shape: data.reshape([int(side) for side in shape.reshape(-1)]),
}
"""By the name of an operation, what makes the value of its result from the node and the values of its inputs."""
