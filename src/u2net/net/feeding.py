"""A graph that takes pictures as they are and gives their masks: what a Transform does, in ONNX's operations.

Whoever runs it needs no code of their own. All is written in operations that every engine knows, and for pictures of
any size. Positions are computed in whole numbers, so that they are exact whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from u2net.errors import InvalidModel
from u2net.models.card import INSIDE_KEY
from u2net.models.transform import Transform
from u2net.net.model import U2Net

_FLOAT, _DOUBLE, _INT32, _UINT8 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.UINT8

Number = NDArray[Any] | np.generic | int | float


def with_preprocessing(model: onnx.ModelProto, transform: Transform) -> onnx.ModelProto:
    """The model that `u2net.net.export.to_onnx` made for one size, with its Transform in the graph.

    It takes `image`, uint8 (1, H, W, 3), RGB of any size, and gives `mask`, uint8 (1, H, W): what `Transform.mask`
    makes of what the network puts out for what `Transform.preprocess` makes of the picture.
    """
    (network_input,), (network_output,) = model.graph.input, model.graph.output
    feeding = _Writer("feed")
    if transform.antialias:
        planes = feeding("Cast", feeding("Transpose", "image", perm=[0, 3, 1, 2]), to=_FLOAT)
        to = _Sides(*(np.array([side]) for side in transform.size))
        seen = _as_pillow(feeding, planes, _sides(feeding), to, transform.resample)
    else:
        seen = _by_samples(feeding, transform)
    _normalised(feeding, seen, transform, network_input.name)
    reading = _Writer("read")
    _mask(reading, network_output, transform)
    graph = helper.make_graph(
        [*feeding.nodes, *model.graph.node, *reading.nodes],
        "u2net",
        [helper.make_tensor_value_info("image", _UINT8, [1, "height", "width", 3])],
        [helper.make_tensor_value_info("mask", _UINT8, [1, "height", "width"])],
        [*feeding.tensors, *model.graph.initializer, *reading.tensors],
    )
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    whole.graph.CopyFrom(graph)
    whole.metadata_props.append(onnx.StringStringEntryProto(key=INSIDE_KEY, value="preprocessing"))
    onnx.checker.check_model(whole)
    return whole


@torch.no_grad()
def compare_masks(path: Path, network: U2Net, transform: Transform) -> None:
    """Raise InvalidModel unless ONNX Runtime gives the masks of torch and the Transform, within a grey level.

    The pictures are larger than what the network sees, and smaller; Pillow 12 and 13 resize both in the same order.
    """
    transform = replace(transform, output="probabilities")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    width, height = transform.size
    for size in ((2 * width + 1, height + 5), (width // 4 + 1, 3 * height // 4 + 1)):
        few = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8))
        image = few.resize(size, Image.Resampling.BICUBIC)  # soft spots, as in photographs
        output = network.saliency(torch.from_numpy(transform.preprocess(image)[None])).numpy()[0]
        (found,) = session.run(None, {"image": np.asarray(image)[None]})
        difference = int(np.abs(found[0].astype(int) - transform.mask(output, size)).max())
        if difference > 1:
            raise InvalidModel(f"ONNX Runtime's mask differs from torch's by {difference} grey levels at {size}")


class _Writer:
    """Writes nodes down, one after the other. Numbers among their inputs become constants."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def __call__(self, kind: str, *inputs: str | Number, output: str = "", **attributes: Any) -> str:
        """Write a node; the name of what it gives."""
        names = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        output = output or f"{self.prefix}.{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output

    def _constant(self, value: Number) -> str:
        """Python's whole numbers become int64, and others float32; numpy's keep their kind."""
        if not isinstance(value, np.ndarray | np.generic):
            value = np.array(value, np.int64 if isinstance(value, int) else np.float32)
        name = f"{self.prefix}.constant_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name


# ---- Resizing ------------------------------------------------------------------------------------------------


class _Sides(NamedTuple):
    """Of a picture or a map: each a number, int64 (1,), or the name of one."""

    width: str | Number
    height: str | Number


def _sides(write: _Writer) -> _Sides:
    """Those of the picture."""
    shape = write("Shape", "image")
    return _Sides(write("Gather", shape, np.array([2])), write("Gather", shape, np.array([1])))


def _by_samples(write: _Writer, transform: Transform) -> str:
    """The picture with four taps for each sample, as `u2net.models.transform` takes them: float32 (1, 3, h, w)."""
    width, height = _sides(write)
    columns = _taps(write, width, transform.size[0])
    total = ""
    for row, row_weight in _taps(write, height, transform.size[1]):
        line = write("Gather", "image", row, axis=1)
        for column, column_weight in columns:
            pixels = write("Cast", write("Gather", line, column, axis=2), to=_FLOAT)
            weight = write(
                "Mul",
                write("Reshape", row_weight, np.array([1, -1, 1, 1])),
                write("Reshape", column_weight, np.array([1, 1, -1, 1])),
            )
            part = write("Mul", pixels, weight)
            total = write("Add", total, part) if total else part
    return write("Transpose", total, perm=[0, 3, 1, 2])


def _taps(write: _Writer, length: str | Number, samples: int) -> list[tuple[str, str]]:
    """Place and weight of both neighbours of each sample along one axis: int64 and float32, (samples,).

    Sample i lies at ((2 i + 1) length − samples) / (2 samples); one is added, for whole numbers are divided toward 0.
    """
    odd = 2 * np.arange(samples) + 1
    numerator = write("Add", write("Mul", length, odd), samples)
    above = write("Div", numerator, 2 * samples)
    rest = write("Sub", numerator, write("Mul", above, 2 * samples))
    share = write("Div", write("Cast", rest, to=_FLOAT), 2.0 * samples)
    last = write("Sub", length, 1)
    taps = []
    for place, weight in ((write("Sub", above, 1), write("Sub", 1.0, share)), (above, share)):
        inside = write("Min", write("Max", place, 0), last)
        is_inside = write("Cast", write("Equal", place, inside), to=_FLOAT)
        taps.append((inside, write("Mul", weight, is_inside)))  # beyond the border all is 0
    return taps


_PRECISION = 22  # bits of Pillow's weights
_HALF = 2 ** (_PRECISION // 2)


def _as_pillow(write: _Writer, planes: str, old: _Sides, new: _Sides, kernel: str) -> str:
    """Planes, float32 (1, C, H, W) of whole grey levels, resized from the old to the new sides as Pillow does it.

    A kernel is a matrix, however wide it is. Levels are whole after each of both passes, so their order counts: since
    13.0 Pillow begins with columns where the height shrinks by more than twice what the width does.
    """
    width, height = write("Sub", old.width, new.width), write("Sub", old.height, new.height)
    shrinks, far = write("Greater", height, 0), write("Greater", height, write("Mul", width, 2))
    across = [write("Transpose", part, perm=[1, 0]) for part in _weights(write, old.width, new.width, kernel)]
    down = _weights(write, old.height, new.height, kernel)
    orders = {}
    for branch in ("then_branch", "else_branch"):
        inner, resized = _Writer(f"{write.prefix}.{len(write.nodes)}.{branch}"), planes
        for is_column in (True, False) if branch == "then_branch" else (False, True):
            pairs = [(part, resized) for part in down] if is_column else [(resized, part) for part in across]
            resized = _whole(inner, *(inner("MatMul", *pair) for pair in pairs))
        output = helper.make_tensor_value_info(resized, _FLOAT, None)
        orders[branch] = helper.make_graph(inner.nodes, branch, [], [output], inner.tensors)
    return write("If", write("And", shrinks, far), **orders)


def _whole(write: _Writer, high: str, low: str) -> str:
    """Whole grey levels from sums with both halves of the weights, which float32 holds exactly."""
    total = write("Mul", write("Cast", high, to=_INT32), np.int32(_HALF))
    total = write("Add", write("Add", total, write("Cast", low, to=_INT32)), np.int32(2 ** (_PRECISION - 1)))
    levels = write("Div", total, np.int32(2**_PRECISION))  # toward 0, and what is negative becomes 0 anyway
    return write("Clip", write("Cast", levels, to=_FLOAT), 0.0, 255.0)


def _weights(write: _Writer, taken: str | Number, given: str | Number, kernel: str) -> tuple[str, str]:
    """How much of each pixel that is `taken` goes into each that is `given`, along one axis: float32 (given, taken).

    Pillow rounds weights to 22 bits; which way a level is rounded that lies halfway hangs on the last of them. They
    come in halves of 11 bits, the upper first.

    The centres of pixel i and of sample o are ((2 i + 1) given − (2 o + 1) taken) / (2 max) apart, in steps of the
    wider of both grids.
    """
    distance = write("Sub", _odd(write, taken, given), write("Reshape", _odd(write, given, taken), np.array([-1, 1])))
    step = write("Mul", write("Max", taken, given), 2)
    steps = write("Div", write("Cast", distance, to=_DOUBLE), write("Cast", step, to=_DOUBLE))
    values = _KERNELS[kernel](write, write("Abs", steps))
    share = write("Div", values, write("ReduceSum", values, np.array([1]), keepdims=1))
    bits = write("Floor", write("Add", write("Mul", share, np.float64(2**_PRECISION)), np.float64(0.5)))
    high = write("Floor", write("Div", bits, np.float64(_HALF)))
    low = write("Sub", bits, write("Mul", high, np.float64(_HALF)))
    return write("Cast", high, to=_FLOAT), write("Cast", low, to=_FLOAT)


def _odd(write: _Writer, length: str | Number, times: str | Number) -> str:
    """1, 3, 5, … of this length, each multiplied: int64."""
    places = write("Range", 0, write("Squeeze", length), 1)
    return write("Mul", write("Add", write("Mul", places, 2), 1), times)


_ZERO, _ONE, _TWO, _THREE = map(np.float64, range(4))


def _bilinear(write: _Writer, x: str) -> str:
    return write("Relu", write("Sub", _ONE, x))


def _bicubic(write: _Writer, x: str) -> str:
    """Keys' cubic with a = −0.5, Pillow's."""
    near = _polynomial(write, x, (1.5, -2.5, 0.0, 1.0))
    far = _polynomial(write, x, (-0.5, 2.5, -4.0, 2.0))
    return write("Where", write("Less", x, _ONE), near, write("Where", write("Less", x, _TWO), far, _ZERO))


def _polynomial(write: _Writer, x: str, factors: tuple[float, ...]) -> str:
    """By Horner's rule, the highest power first."""
    total: str | Number = np.float64(factors[0])
    for factor in factors[1:]:
        total = write("Add", write("Mul", total, x), np.float64(factor))
    return str(total)


def _lanczos(write: _Writer, x: str) -> str:
    window = write("Mul", _sinc(write, x), _sinc(write, write("Div", x, _THREE)))
    return write("Where", write("Less", x, _THREE), window, _ZERO)


def _sinc(write: _Writer, x: str) -> str:
    angle = write("Mul", write("Max", x, np.float64(1e-9)), np.float64(np.pi))  # it is 1 there: nothing is divided by 0
    return write("Div", write("Sin", angle), angle)


_KERNELS: dict[str, Callable[[_Writer, str], str]] = {"bilinear": _bilinear, "bicubic": _bicubic, "lanczos": _lanczos}
"""Each kernel's values at distances from 0 up, in float64."""


# ---- Numbers -------------------------------------------------------------------------------------------------


def _normalised(write: _Writer, pixels: str, transform: Transform, output: str) -> None:
    """Divide by the largest value or 255, and bring mean and spread to those that the network has learnt from."""
    peak: str | float = 255.0
    if transform.divisor == "max":
        largest = write("ReduceMax", pixels)
        peak = write("Where", write("Greater", largest, 0.0), largest, 1.0)
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (transform.mean, transform.std))
    write("Div", write("Sub", write("Div", pixels, peak), mean), std, output=output)


def _mask(write: _Writer, network_output: onnx.ValueInfoProto, transform: Transform) -> None:
    """The network's probabilities, float32 (1, C, h, w), as `mask` at the picture's size."""
    _, channels, h, w = (dim.dim_value for dim in network_output.type.tensor_type.shape.dim)
    saliency = write("Clip", network_output.name, 0.0, 1.0)
    if channels > 1:
        saliency = write("Sub", 1.0, write("Gather", saliency, np.array([0]), axis=1))
    if transform.stretch:
        low = write("ReduceMin", saliency)
        span = write("Sub", write("ReduceMax", saliency), low)
        varies = write("Greater", span, 0.0)
        start, length = write("Where", varies, low, 0.0), write("Where", varies, span, 1.0)
        saliency = write("Div", write("Sub", saliency, start), length)
    levels = write("Floor", write("Mul", saliency, 255.0))
    seen = _Sides(np.array([w]), np.array([h]))
    large = write("Squeeze", _as_pillow(write, levels, seen, _sides(write), transform.upsample), np.array([1]))
    write("Cast", large, output="mask", to=_UINT8)
