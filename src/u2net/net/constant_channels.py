"""Channels that hold nearly the same large number everywhere: taken out of a graph, which computes the same as before.

Training leaves such channels behind: in the authors' U²-Net† one of them is between 226 and 228 in every picture,
where its neighbours live between 0 and 10. float32 does not mind; bfloat16 rounds it to whole numbers, and eight bits
that must reach 228 leave nothing for the neighbours. So the number is subtracted where it arises and added where it is
used. With a level l, a convolution sees

    conv(x) = conv(x - l) + conv(l inside the map, 0 beyond its border),

and the last term depends on no picture. ReLU becomes `Max(·, -l)` per channel, so that this holds for every input.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from u2net.errors import InvalidModel
from u2net.net.model import ConvBlock, U2Net

_STEADINESS = 4  # of a level: how many times its spread
_PROBE_SIDE = 96
_ONE = "one"  # the name of a 1


@torch.no_grad()
def find_levels(network: U2Net) -> dict[str, Tensor]:
    """The steady levels of each block's map by its name in the network: float32 (C,), 0 for channels that vary.

    Seen on a few drawn pictures: flat, smooth and noisy ones. What a level is does not alter what the graph computes,
    only how well it is rounded.
    """
    network = copy.deepcopy(network).cpu().float().eval()
    levels: dict[str, Tensor] = {}

    def look(name: str, maps: Tensor) -> None:
        low, high = maps.amin(dim=(0, 2, 3)), maps.amax(dim=(0, 2, 3))
        steady = (low > _STEADINESS * (high - low)) & (low > high.median())
        # Half a spread below what was seen; of few bits, so that it can be subtracted and added again exactly.
        level = (low - (high - low) / 2).bfloat16().float()
        if steady.any():
            levels[name] = torch.where(steady, level, 0)

    for name, block in network.named_modules():
        if isinstance(block, ConvBlock):
            block.register_forward_hook(lambda _, __, maps, name=name: look(name, maps))
    network.saliency(_probes(network.stages[0].c_in))
    return levels


def _probes(channels: int) -> Tensor:
    """Two flat pictures, two smooth ones and two of noise, as a Transform makes them: float32 (6, C, H, W)."""
    random = np.random.default_rng(0)
    shape = (_PROBE_SIDE, _PROBE_SIDE)
    flat = [torch.full((1, channels, *shape), value) for value in (-2.0, 2.5)]
    drawn = [torch.from_numpy(random.standard_normal((1, channels, side, side), np.float32)) for side in (3, 8, 32, 96)]
    return torch.cat([*flat, *(F.interpolate(x, shape, mode="bilinear", align_corners=False) for x in drawn)])


def subtract_levels(
    nodes: Sequence[onnx.NodeProto], weights: dict[str, Tensor], levels: dict[str, Tensor]
) -> tuple[list[onnx.NodeProto], dict[str, Tensor]]:
    """The same graph with levels taken out, for `nodes` and `weights` as `u2net.net.export.to_graph` gives them.

    Levels stay in that are used by anything but convolutions, or could not be added again exactly.
    """
    weights = dict(weights)
    graph = _Edges(nodes, weights)
    floors: dict[str, str] = {}  # by the output of the ReLU that it replaces
    seen: dict[str, Tensor] = {}  # levels of a convolution's input, by the convolution's output
    for name, level in levels.items():
        (convolution,) = graph.users[f"{name}.conv.weight"]
        (relu,) = graph.users[convolution.output[0]]
        uses = graph.convolutions_behind(relu.output[0], level)
        bias = weights[f"{name}.conv.bias"]
        if uses is None or not torch.equal(bias - level + level, bias):
            continue
        weights[f"{name}.conv.bias"] = bias - level
        weights[f"{name}.floor"] = -level.reshape(1, -1, 1, 1)
        floors[relu.output[0]] = f"{name}.floor"
        for output, levels_there in uses:
            seen[output] = seen.get(output, torch.zeros(())) + levels_there
    if floors:
        weights[_ONE] = torch.ones(1, 1, 1, 1)
    folded = []
    for node in nodes:
        (output,) = node.output
        if output in floors:
            node = helper.make_node("Max", [node.input[0], floors[output]], [output])
        if output not in seen:
            folded.append(node)
            continue
        key = node.input[1].removesuffix(".weight")
        weights[f"{key}.level"] = _weighted(weights[f"{key}.weight"], seen[output])
        folded += _with_level(node, key)
    return folded, weights


def add_levels(graph: onnx.GraphProto) -> None:
    """Put levels back in place: the inverse of `subtract_levels`, to the last bit. Other graphs stay as they are.

    Raises InvalidModel for a graph that has levels, but not as `subtract_levels` writes them.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    floors = [node for node in graph.node if node.op_type == "Max" and node.input[-1].endswith(".floor")]
    if not floors:
        return
    weights = {
        name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for name, tensor in tensors.items()
        if not (name == _ONE or name.endswith((".floor", ".level")))
    }
    levels = {}
    for node in floors:
        name = node.input[1].removesuffix(".floor")
        levels[name] = -torch.from_numpy(numpy_helper.to_array(tensors[node.input[1]]).copy()).flatten()
        weights[f"{name}.conv.bias"] += levels[name]
    plain = [restored for node in graph.node if (restored := _without_level(node)) is not None]
    again, folded = subtract_levels(plain, weights, levels)
    if again != list(graph.node) or any(
        not np.array_equal(value.numpy(), numpy_helper.to_array(tensors[name])) for name, value in folded.items()
    ):
        raise InvalidModel("not the graph of a U²-Net: levels were subtracted that are not added again")
    del graph.node[:], graph.initializer[:]
    graph.node.extend(plain)
    graph.initializer.extend(numpy_helper.from_array(value.numpy(), name) for name, value in weights.items())


def _weighted(weight: Tensor, level: Tensor) -> Tensor:
    """What a convolution makes of a level, as weights of a single channel: (O, 1, kh, kw)."""
    total = torch.zeros_like(weight[:, :1], dtype=torch.float64)
    for channel in level.nonzero().flatten().tolist():  # in this order, so that every machine gets the same bits
        total += weight[:, channel : channel + 1].double() * level[channel].double()
    return total.float()


def _with_level(node: onnx.NodeProto, key: str) -> list[onnx.NodeProto]:
    """A convolution as two: of what is left, without bias, and of the level, which is 0 beyond the border."""
    (output,) = node.output
    inner, level = copy.deepcopy(node), copy.deepcopy(node)
    del inner.input[2]
    inner.output[0] = f"{output}.inner"
    level.input[:2] = [f"{output}.ones", f"{key}.level"]
    level.name = level.output[0] = f"{output}.level"
    return [
        helper.make_node("Shape", node.input[:1], [f"{output}.size"], start=2),
        helper.make_node("Expand", [_ONE, f"{output}.size"], [f"{output}.ones"]),
        level,
        inner,
        helper.make_node("Add", [f"{output}.inner", f"{output}.level"], [output]),
    ]


def _without_level(node: onnx.NodeProto) -> onnx.NodeProto | None:
    """What stood in the place of one node of a graph with levels; None where nothing stood."""
    (output,) = node.output
    if node.op_type == "Max":
        return helper.make_node("Relu", node.input[:1], [output])
    if output.endswith(".inner"):
        plain = copy.deepcopy(node)
        plain.input.append(node.input[1].removesuffix(".weight") + ".bias")
        plain.output[0] = output.removesuffix(".inner")
        return plain
    if output.endswith((".size", ".ones", ".level")) or f"{output}.inner" in node.input:
        return None
    return node


class _Edges:
    """Who uses which tensor, and how many channels each map has."""

    def __init__(self, nodes: Sequence[onnx.NodeProto], weights: dict[str, Tensor]) -> None:
        self.users: dict[str, list[onnx.NodeProto]] = {}
        self.channels: dict[str, int] = {}
        for node in nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
            if node.op_type == "Conv":
                self.channels[node.output[0]] = len(weights[node.input[1]])
            elif node.op_type == "Concat":
                self.channels[node.output[0]] = sum(self.channels[name] for name in node.input)
            elif node.op_type != "Shape":
                self.channels[node.output[0]] = self.channels[node.input[0]]

    def convolutions_behind(self, name: str, level: Tensor) -> list[tuple[str, Tensor]] | None:
        """The outputs of all convolutions that a map gets to, with its levels among their channels.

        None if it gets anywhere else. `level` is (C,).
        """
        found: list[tuple[str, Tensor]] = []
        for user in self.users[name]:
            (output,) = user.output
            if user.op_type == "Conv":
                found.append((output, level))
            elif user.op_type in ("MaxPool", "Resize", "Concat"):
                passed = level
                if user.op_type == "Concat":
                    parts = [level if part == name else torch.zeros(self.channels[part]) for part in user.input]
                    passed = torch.cat(parts)
                behind = self.convolutions_behind(output, passed)
                if behind is None:
                    return None
                found += behind
            elif user.op_type != "Shape":
                return None
        return found
