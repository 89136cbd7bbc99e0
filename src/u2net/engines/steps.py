"""A plain graph of ours, step by step: what every engine's writer has to know of it, without ONNX's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Kind = Literal["Conv", "MaxPool", "Resize", "Concat", "Add", "Sigmoid", "Softmax"]


@dataclass(frozen=True)
class Step:
    """One operation. Maps are (1, C, H, W); what is joined or becomes a probability does so along channels."""

    kind: Kind
    """A MaxPool is 2 by 2, and what is left over at the border counts; a Resize is bilinear, by pixels' centres."""
    inputs: tuple[str, ...]
    """Names of maps."""
    output: str
    channels: int
    height: int
    width: int
    """Of the output."""
    weight: NDArray[np.float32] | None = None
    """Of a convolution, (C, C of the input, side, side)."""
    bias: NDArray[np.float32] | None = None
    """Of a convolution, (C,)."""
    dilation: int = 1
    """Of a convolution, whose padding keeps height and width."""
    has_relu: bool = False
    """Whether negative numbers become 0 behind a convolution."""


def steps_of(model: onnx.ModelProto) -> Iterator[Step]:
    """The steps of what `u2net.net.export.to_onnx` makes with `static`, in order, from `input` to `saliency`."""
    from onnx import helper, numpy_helper
    from onnx.shape_inference import infer_shapes

    graph = infer_shapes(model).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    uses = Counter(name for node in graph.node for name in node.input)
    relus = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "Relu"}
    for node in graph.node:
        (output,) = node.output
        given: dict[str, Any] = {}
        if node.op_type == "Relu":  # belongs to the convolution before it
            assert uses[node.input[0]] == 1
            continue
        if node.op_type == "Conv":
            dilation = next(helper.get_attribute_value(a)[0] for a in node.attribute if a.name == "dilations")
            weight, bias = (constants[name] for name in node.input[1:])
            given = {"weight": weight, "bias": bias, "dilation": dilation, "has_relu": output in relus}
            output = relus.get(output, output)
        _, channels, height, width = shapes[output]
        inputs = tuple(name for name in node.input if name and name not in constants)
        yield Step(node.op_type, inputs, output, channels, height, width, **given)
