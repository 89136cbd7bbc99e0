"""What an ONNX graph would take, found out from its shapes before a runtime opens it.

A runtime computes what a file says: a loop without an end, or a constant of 2 GiB out of eight bytes. So only
operations are let through that networks of convolutions consist of, and of each the shape of its result is computed
here, for one picture of a known size. What shapes are made of, small tensors of numbers, is computed with numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from u2net.errors import InvalidModel
from u2net.models.onnx_graph import SMALL, Node, read_graph
from u2net.models.onnx_values import VALUES, Shape, Value

# For each pixel: the numbers that are kept at one time, all that are computed, and the products. The full U²-Net has
# 287, 2,100 (3,600 in integers) and 572,000.
_MAX_KEPT, _MAX_COMPUTED, _MAX_PRODUCTS = 2**11, 2**15, 2**22
_MAX_KERNEL = 64  # each side: what runtimes copy for a convolution grows with the square
_MAX_COPIED = 2**12  # numbers for each pixel, of what they copy in whole; the full U²-Net has 1,200
_POOLED = 16  # products that take as long as one number that a pool looks at
_LEAST_PIXELS = 2**16  # of pictures that are smaller
_MOST_KEPT = 2**31  # whatever the picture's size, for a file says that too


class Sizes:
    """The shapes of a graph's tensors, and the values of those that shapes are made of."""

    def __init__(self, shapes: dict[str, Shape], values: dict[str, Value]) -> None:
        self.shapes = shapes
        self.values = values
        self.computed: set[str] = set()
        self.num_products = self.num_copied = 0

    def add(self, node: Node) -> None:
        """Find out what a node gives. Raises KeyError for an operation or a tensor that is not known, ValueError."""
        result = _RESULTS[node.operation]
        given = [self.values.get(name) for name in node.inputs if name]
        if node.operation == "Shape":
            until = node.attributes.get("end")
            self.values[node.outputs[0]] = np.array(self.of(node)[node.number("start") : until], np.int64)
        elif (
            node.operation in VALUES
            and all(value is not None for value in given)
            and (result is _known or math.prod(result(self, node)) <= SMALL)
        ):
            with np.errstate(all="ignore"):
                value = np.asarray(VALUES[node.operation](node, *given))
            if value.dtype != object and value.size <= SMALL:
                self.values[node.outputs[0]] = value
        shape = result(self, node)
        if any(side < 0 for side in shape):
            raise ValueError("a negative size")
        for index, name in enumerate(node.outputs):
            if not name:
                continue
            if name in self.shapes:
                raise ValueError("a name that is given twice")
            is_scale = index > 0 and node.operation == "DynamicQuantizeLinear"  # or a zero point: one number
            self.shapes[name] = () if is_scale else shape
            self.computed.add(name)

    def of(self, node: Node, index: int = 0) -> Shape:
        """The shape of one of its inputs."""
        return self.shapes[node.inputs[index]]

    def value(self, node: Node, index: int) -> list[Any] | None:
        """The numbers in one of its inputs; None for one that is left out."""
        if len(node.inputs) <= index or not node.inputs[index]:
            return None
        return self.values[node.inputs[index]].reshape(-1).tolist()


def check_sizes(path: Path, size: tuple[int, int]) -> None:
    """Raise InvalidModel for a graph that no network of convolutions needs, for a picture of `size` = (width, height).

    That is: other operations, sizes that depend on the picture, seven times the memory or work of the
    full U²-Net.
    """
    graph = read_graph(path)
    sizes = Sizes(dict(graph.shapes), dict(graph.values))
    for name in graph.inputs:
        sizes.shapes[name] = (1, 3, *reversed(size))
    pixels = max(math.prod(size), _LEAST_PIXELS)
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    kept = computed = 0
    for index, node in enumerate(graph.nodes):
        if node.operation not in _RESULTS:
            raise InvalidModel(f"{path.name} uses {node.operation:.40}, which is refused: U²-Nets do not need it")
        try:
            sizes.add(node)
        except (KeyError, ValueError, IndexError, TypeError, ZeroDivisionError, OverflowError, AttributeError):
            raise InvalidModel(f"{path.name}: the size of what {node.operation} gives cannot be told") from None
        new = sum(math.prod(sizes.shapes[name]) for name in node.outputs if name)
        kept, computed = kept + new, computed + new
        if (
            kept > min(_MAX_KEPT * pixels, _MOST_KEPT)
            or computed > _MAX_COMPUTED * pixels
            or sizes.num_products > _MAX_PRODUCTS * pixels
            or sizes.num_copied > _MAX_COPIED * pixels
        ):
            raise InvalidModel(f"{path.name} would take more memory or time than any U²-Net")
        done = {name for name in node.inputs if name in sizes.computed and last_use[name] == index}
        done |= {name for name in node.outputs if name and name not in last_use}
        kept -= sum(math.prod(sizes.shapes[name]) for name in done)


def _same(sizes: Sizes, node: Node) -> Shape:
    return sizes.of(node)


def _broadcast(sizes: Sizes, node: Node) -> Shape:
    return np.broadcast_shapes(*(sizes.shapes[name] for name in node.inputs))


def _window(node: Node, spatial: Shape, kernel: list[int]) -> Shape:
    """The sides after a window has moved over them; padding that ONNX computes keeps no more than what was there."""
    rank = len(spatial)
    strides, dilations = node.numbers("strides", [1] * rank), node.numbers("dilations", [1] * rank)
    pads = node.numbers("pads", [0] * 2 * rank)
    if any(n < 1 for n in (*strides, *dilations, *kernel)) or any(n < 0 for n in pads) or max(kernel) > _MAX_KERNEL:
        raise ValueError("an impossible window")
    sides = []
    for i, side in enumerate(spatial):
        if node.text("auto_pad") in ("SAME_UPPER", "SAME_LOWER"):
            sides.append(-(-side // strides[i]))
            continue
        left = side + pads[i] + pads[i + rank] - dilations[i] * (kernel[i] - 1) - 1
        sides.append((-(-left // strides[i]) if node.number("ceil_mode") else left // strides[i]) + 1)
    return tuple(sides)


def _conv(sizes: Sizes, node: Node, weights: int = 1) -> Shape:
    taken, kernel = sizes.of(node), sizes.of(node, weights)
    result = (taken[0], kernel[0], *_window(node, taken[2:], list(kernel[2:])))
    sizes.num_products += math.prod(result) * math.prod(kernel[1:])
    if node.operation != "Conv":  # in integers, each window is copied
        sizes.num_copied = max(sizes.num_copied, math.prod(result[2:]) * math.prod(kernel[1:]))
    return result


def _transposed(sizes: Sizes, node: Node) -> Shape:
    taken, kernel = sizes.of(node), sizes.of(node, 1)
    rank = len(taken) - 2
    strides, extra = node.numbers("strides", [1] * rank), node.numbers("output_padding", [0] * rank)
    pads, dilations = node.numbers("pads", [0] * 2 * rank), node.numbers("dilations", [1] * rank)
    is_computed = node.text("auto_pad") not in ("SAME_UPPER", "SAME_LOWER") and "output_shape" not in node.attributes
    if not is_computed or min(pads) < 0 or max(kernel[2:]) > _MAX_KERNEL:
        raise ValueError("sizes that are not computed here")
    sides = [
        strides[i] * (taken[2 + i] - 1) + extra[i] + (kernel[2 + i] - 1) * dilations[i] + 1 - pads[i] - pads[rank + i]
        for i in range(rank)
    ]
    sizes.num_products += math.prod(taken) * math.prod(kernel[1:])
    sizes.num_copied = max(sizes.num_copied, math.prod(taken[2:]) * math.prod(kernel[1:]))
    return (taken[0], kernel[1] * node.number("group", 1), *sides)


def _pool(sizes: Sizes, node: Node) -> Shape:
    taken, kernel = sizes.of(node), node.numbers("kernel_shape", [])
    result = (*taken[:2], *_window(node, taken[2:], kernel))
    sizes.num_products += _POOLED * math.prod(result) * math.prod(kernel)
    return result


def _resize(sizes: Sizes, node: Node) -> Shape:
    taken = sizes.of(node)
    scales_at = 1 if node.operation == "Upsample" or len(node.inputs) == 2 else 2
    scales, wanted = sizes.value(node, scales_at), sizes.value(node, 3)
    axes = [axis % len(taken) for axis in node.numbers("axes", list(range(len(taken))))]
    if node.text("keep_aspect_ratio_policy") not in ("", "stretch"):
        raise ValueError("sizes that are not computed here")
    scales = scales or node.attributes.get("scales")
    asked = wanted or [math.floor(taken[axis] * scale) for axis, scale in zip(axes, scales or [], strict=True)]
    result = list(taken)
    for axis, side in zip(axes, asked, strict=True):
        result[axis] = int(side)
    return tuple(result)


def _concat(sizes: Sizes, node: Node, first: int = 0, step: int = 1) -> Shape:
    shapes = [sizes.shapes[name] for name in node.inputs[first::step]]
    axis = node.number("axis") % len(shapes[0])
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _reshape(sizes: Sizes, node: Node) -> Shape:
    taken, wanted = sizes.of(node), sizes.value(node, 1) or []
    if node.number("allowzero"):
        raise ValueError("sizes that are not computed here")
    sides = [taken[i] if side == 0 else int(side) for i, side in enumerate(wanted)]
    rest = math.prod(side for side in sides if side != -1)
    result = tuple(math.prod(taken) // rest if side == -1 else side for side in sides)
    if math.prod(result) != math.prod(taken):
        raise ValueError("another number of elements")
    return result


def _padded(sizes: Sizes, node: Node) -> Shape:
    taken = sizes.of(node)
    pads = sizes.value(node, 1) or node.numbers("pads", [])
    if len(pads) != 2 * len(taken) or sizes.value(node, 3) is not None:
        raise ValueError("sizes that are not computed here")
    return tuple(side + int(pads[i]) + int(pads[i + len(taken)]) for i, side in enumerate(taken))


def _expanded(sizes: Sizes, node: Node) -> Shape:
    return np.broadcast_shapes(sizes.of(node), tuple(map(int, sizes.value(node, 1) or [])))


def _constant(_sizes: Sizes, node: Node) -> Shape:
    if len(node.attributes) != 1:  # of two values, a runtime might take the other
        raise ValueError("two values")
    return node.shape


def _reduced(sizes: Sizes, node: Node) -> Shape:
    taken = sizes.of(node)
    axes = sizes.value(node, 1) or node.numbers("axes", list(range(len(taken))))
    over = {int(axis) % len(taken) for axis in axes}
    kept = node.number("keepdims", 1)
    return tuple(1 if i in over else side for i, side in enumerate(taken) if kept or i not in over)


def _transpose(sizes: Sizes, node: Node) -> Shape:
    taken = sizes.of(node)
    return tuple(taken[axis] for axis in node.numbers("perm", list(range(len(taken)))[::-1]))


def _known(sizes: Sizes, node: Node) -> Shape:
    """Of operations that only make shapes out of shapes: their value is known."""
    return sizes.values[node.outputs[0]].shape


_LIKE_THEIR_FIRST = (
    *("Relu", "LeakyRelu", "PRelu", "Elu", "HardSwish", "Sigmoid", "HardSigmoid", "Softplus", "Tanh", "Clip"),
    *("Softmax", "LogSoftmax", "BatchNormalization", "InstanceNormalization", "Dropout", "Identity", "Cast"),
    *("Abs", "Neg", "Exp", "Log", "Sqrt", "Erf", "Floor", "Ceil"),
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
)

_RESULTS: dict[str, Callable[[Sizes, Node], Shape]] = {
    **dict.fromkeys(_LIKE_THEIR_FIRST, _same),
    **dict.fromkeys(["Add", "Div", "Max", "Min", "Mul", "Pow", "Sub", "Sum"], _broadcast),
    **dict.fromkeys(["AveragePool", "MaxPool"], _pool),
    **dict.fromkeys(["GlobalAveragePool", "GlobalMaxPool"], lambda sizes, node: (*sizes.of(node)[:2], 1, 1)),
    **dict.fromkeys(["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"], _reduced),
    **dict.fromkeys(["Gather", "Slice", "Squeeze", "Unsqueeze"], _known),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": lambda sizes, node: tuple(map(int, sizes.value(node, 0) or [])),
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _transposed,
    "Expand": _expanded,
    "Pad": _padded,
    "QLinearConv": lambda sizes, node: _conv(sizes, node, 3),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda sizes, node: sizes.values[node.outputs[0]].shape,
    "Transpose": _transpose,
    "Upsample": _resize,
    # What ONNX Runtime's own tools write.
    "com.microsoft.FusedConv": _conv,
    "com.microsoft.QLinearAdd": lambda sizes, node: np.broadcast_shapes(sizes.of(node), sizes.of(node, 3)),
    "com.microsoft.QLinearConcat": lambda sizes, node: _concat(sizes, node, 2, 3),
    "com.microsoft.QLinearSigmoid": _same,
}
"""The shape of what each operation gives; others are refused."""
