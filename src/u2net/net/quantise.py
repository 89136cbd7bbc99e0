"""Eight-bit integers for an exported network, calibrated on pictures, in the form that every runtime reads.

Maps are unsigned with one scale each, weights signed with one scale per output channel (Krishnamoorthi 2018, arXiv
1806.08342), written as pairs of QuantizeLinear and DequantizeLinear between which runtimes compute with integers. Maps
that are joined, halved or resized share their scale, so that nothing is converted on the way. The six side maps, their
fusion and the probabilities stay in float32. Levels must have been taken out before (`u2net.net.constant_channels`).

x86 processors without VNNI multiply two bytes of a map by two of a weight, and add both products in 16 bits, which cut
what is larger (Intel, Lower Numerical Precision Deep Learning Inference and Training, 2018). Filters whose sums would
be cut get a larger scale: they lose less than a bit, where cutting would ruin the map.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from os import PathLike

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from u2net.errors import InvalidModel
from u2net.images.load import ImageData, load_image
from u2net.models.card import PAIRS_KEY, PRECISION_KEY, Card
from u2net.net.calibration import LEVELS, Map, Values, best_scale, observe
from u2net.net.export import to_onnx
from u2net.net.model import U2Net
from u2net.net.static import run_tensors, with_fixed_size
from u2net.system.files import atomic_write

TOLERANCE = 0.01
"""Largest mean difference of the probabilities from float32 that is accepted. U²-Net†, at half of it, loses .0006 of
maxF and .0003 of MAE on ECSSD."""

NUM_PICTURES = 32
"""How many pictures the integers of `u2net export` and of the package are calibrated on."""

_SHARING = ("Concat", "MaxPool", "Resize")  # operations whose results keep the scale of what goes in
_LARGEST_WEIGHT = 127
_LARGEST_PAIR = 2**15 - 2 - LEVELS  # of two products; rounding two weights adds half a level of the map for each
_ROOM = 1.1  # for larger values than the pictures have
_NUM_JUDGES = 4  # pictures that tell which convolution does harm


@dataclass(frozen=True)
class Quantised:
    """A network in integers, and what became of it."""

    model: onnx.ModelProto
    """Takes one picture of the size of its card's Transform."""
    difference: float
    """Mean difference of the probabilities from float32 on the pictures, at most `TOLERANCE`."""
    num_float: int
    """Convolutions that had to stay in float32, but for the fusion's."""


def export_int8(
    network: U2Net, path: str | PathLike[str], card: Card, pictures: Iterable[ImageData]
) -> tuple[float, int]:
    """Write the network to `path` in integers; see `Quantised` for what is returned: difference and num_float.

    The file takes `input`, float32 (1, c_in, H, W) of the size of `card.transform`, and gives `saliency`, as that of
    `u2net.net.export_onnx` does. `pictures` are to be like those to come, a few dozen. Beside `NAME.onnx`, as
    `NAME-int8.onnx`, sessions find it by themselves. Raises InvalidModel if there are no pictures or the result is not
    within `TOLERANCE`, InvalidImage for what is no picture, OSError if `path` cannot be written; then nothing was
    changed.
    """
    seen = [card.transform.preprocess(load_image(picture).view())[None] for picture in pictures]
    made = quantise(to_onnx(network, card), seen)
    with atomic_write(path) as file:
        file.write(made.model.SerializeToString(deterministic=True))
    return made.difference, made.num_float


def quantise(model: onnx.ModelProto, pictures: Sequence[Map]) -> Quantised:
    """The model that `u2net.net.export.to_onnx` made, in integers.

    `pictures` are float32 (1, C, H, W) as the card's Transform makes them, a few dozen that are like those to come.
    If the result differs by more than `TOLERANCE`, the convolutions that do most harm by themselves stay in float32.
    Raises InvalidModel if that does not help.
    """
    if not pictures:
        raise InvalidModel("there are no pictures to calibrate with")
    height, width = pictures[0].shape[2:]
    # ONNX Runtime's rearrangement of integer graphs does not understand sizes that are computed or belong to some axes.
    fixed = with_fixed_size(model, (width, height))
    _with_relu(fixed)
    for key, value in ((PRECISION_KEY, "int8"), (PAIRS_KEY, "16 bits")):
        fixed.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    graph = _Plan(fixed.graph)
    seen = observe(fixed, graph.origins(), pictures)
    expected = list(run_tensors(fixed, pictures, ["saliency"]))

    def difference(kept: Set[str], judges: int = len(pictures)) -> float:
        found = run_tensors(_rewrite(fixed, kept, seen), pictures[:judges], ["saliency"])
        return float(np.mean([np.abs(a[0] - b[0]).mean() for a, b in zip(found, expected, strict=False)]))

    kept: set[str] = set()
    found = difference(kept)
    if found > TOLERANCE:
        names = {node.output[0] for node in graph.convolutions}
        harm = {name: difference(names - {name}, _NUM_JUDGES) for name in names}
        for name in sorted(names, key=lambda name: -harm[name])[: len(names) // 4]:
            kept.add(name)
            found = difference(kept)
            if found <= TOLERANCE:
                break
        else:
            raise InvalidModel(f"in integers the network differs from float32 by {found:.3f} on average")
    return Quantised(_rewrite(fixed, kept, seen), found, len(kept))


def _with_relu(model: onnx.ModelProto) -> None:
    """Below a level nothing is left of a map whose integers start at 0."""
    for node in model.graph.node:
        if node.op_type == "Max":
            node.op_type = "Relu"
            del node.input[1]


class _Plan:
    """What of a graph becomes integer: which convolutions, and which maps before them, in groups of one scale."""

    def __init__(self, graph: onnx.GraphProto, kept: Set[str] = frozenset()) -> None:
        self.producers = {name: node for node in graph.node for name in node.output}
        self.shared: dict[str, str] = {}
        candidates = [node for node in graph.node if node.op_type == "Conv" and node.output[0] not in kept]
        self.convolutions = [node for node in candidates if all(map(self._may_be_integer, self._behind(node.input[0])))]
        for node in self.convolutions:
            self._take(node.input[0])
        for node in graph.node:
            if node.op_type == "Add" and node.output[0] in self.shared:
                for name in node.input:
                    self.shared.setdefault(name, name) if self._may_be_integer(name) else None

    def group(self, name: str) -> str:
        """The name of the group of maps that share a scale with this one."""
        while self.shared[name] != name:
            name = self.shared[name]
        return name

    def origins(self) -> list[str]:
        """The maps whose values decide on the scales."""
        return [name for name in self.shared if not self._passed(name)]

    def highest(self, name: str, seen: dict[str, Values]) -> Map:
        """The largest value of each channel of a map, (C,): halving and resizing do not enlarge it."""
        passed = self._passed(name)
        return np.concatenate([self.highest(part, seen) for part in passed]) if passed else seen[name].high

    def _passed(self, name: str) -> list[str]:
        """The maps that a joined, halved or resized one is made of."""
        node = self.producers.get(name)
        if node is None or node.op_type not in _SHARING:
            return []
        return list(node.input if node.op_type == "Concat" else node.input[:1])

    def _behind(self, name: str) -> Iterator[str]:
        passed = self._passed(name)
        if not passed:
            yield name
        for before in passed:
            yield from self._behind(before)

    def _may_be_integer(self, name: str) -> bool:
        """The picture, or what comes out of a ReLU, or the sum of two of these."""
        node = self.producers.get(name)
        if node is None:
            return True
        return node.op_type == "Relu" or (node.op_type == "Add" and all(map(self._may_be_integer, node.input)))

    def _take(self, name: str) -> None:
        if name in self.shared:
            return
        self.shared[name] = name
        for before in self._passed(name):
            self._take(before)
            self.shared[self.group(before)] = self.group(name)


def _rewrite(model: onnx.ModelProto, kept: Set[str], seen: dict[str, Values]) -> onnx.ModelProto:
    """The model in integers, but for the convolutions whose output is in `kept`."""
    written = copy.deepcopy(model)
    graph = written.graph
    plan = _Plan(graph, kept)
    integer = {node.output[0] for node in plan.convolutions}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scales = _scales(plan, seen)
    tensors: dict[str, NDArray[np.generic]] = {}
    nodes: list[onnx.NodeProto] = []

    def write_pair(name: str) -> None:
        scale, zero = scales[plan.group(name)]
        tensors[f"{name}.scale"], tensors[f"{name}.zero"] = np.array(scale, np.float32), np.array(zero)
        parameters = [f"{name}.scale", f"{name}.zero"]
        nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}.integer"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}.integer", *parameters], [f"{name}.real"]))

    def write_weight(name: str, values: NDArray[np.generic], scale: NDArray[np.float32]) -> str:
        tensors[f"{name}.integer"], tensors[f"{name}.scale"] = values, scale
        tensors[f"{name}.zero"] = np.zeros(len(scale), values.dtype)
        inputs = [f"{name}.integer", f"{name}.scale", f"{name}.zero"]
        nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.real"], axis=0))
        return f"{name}.real"

    if "input" in plan.shared:
        write_pair("input")
    for original in graph.node:
        node = copy.deepcopy(original)
        if node.output[0] in integer:
            weight = weights[node.input[1]]
            highest = plan.highest(node.input[0], seen)
            scale = _weight_scales(weight, highest, *scales[plan.group(node.input[0])])
            values = np.round(weight / scale[:, None, None, None]).astype(np.int8)  # so does u2net.models.integers
            sum_scale = scale * np.float32(scales[plan.group(node.input[0])][0])
            node.input[1] = write_weight(node.input[1], values, scale)
            if len(node.input) == 3:
                limit = 2**31 - 1
                bias = np.round(weights[node.input[2]] / sum_scale.astype(np.float64)).clip(-limit, limit)
                node.input[2] = write_weight(node.input[2], bias.astype(np.int32), sum_scale)
        for index, name in enumerate(node.input):
            if name in plan.shared:
                node.input[index] = f"{name}.real"
        nodes.append(node)
        if node.output[0] in plan.shared:
            write_pair(node.output[0])
    used = {name for node in nodes for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*left, *(numpy_helper.from_array(value, name) for name, value in tensors.items())])
    return written


def _weight_scales(weight: Map, highest: Map, scale: float, zero: np.uint8) -> Map:
    """The scale of each filter, (O,), of a weight (O, C, kh, kw): as fine as its largest number and its pairs allow.

    `highest` are the largest values of the input's channels, (C,), whose integers are value / scale + zero.
    """
    tops = np.minimum(np.ceil(_ROOM * highest / scale) + zero, LEVELS)
    products = weight.astype(np.float64) * tops[:, None, None]
    if products.shape[1] % 2:
        products = np.pad(products, ((0, 0), (0, 1), (0, 0), (0, 0)))
    of_one_sign = np.abs([products.clip(min=0), products.clip(max=0)])
    pairs = of_one_sign[:, :, 0::2] + of_one_sign[:, :, 1::2]  # neighbouring channels, as runtimes lay them out
    by_number = np.maximum(np.abs(weight).max(axis=(1, 2, 3)), 1e-8) / _LARGEST_WEIGHT
    scales: Map = np.maximum(by_number, pairs.max(axis=(0, 2, 3, 4)) / _LARGEST_PAIR).astype(np.float32)
    return scales


def _scales(plan: _Plan, seen: dict[str, Values]) -> dict[str, tuple[float, np.uint8]]:
    """Scale and zero of each group of maps."""
    groups: dict[str, list[Values]] = {}
    for name in plan.origins():
        groups.setdefault(plan.group(name), []).append(seen[name])
    return {group: best_scale(maps) for group, maps in groups.items()}
