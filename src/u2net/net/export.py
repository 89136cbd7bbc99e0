"""U²-Net as an ONNX file: batch normalisation folded, any batch and size or one, its card in the metadata.

The graph is written from torch's own trace of the network, node by node, and not by `torch.onnx.export`: that
leaves the fewest nodes, gives the same bytes for the same weights, and takes under a second instead of many.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from u2net.errors import InvalidModel
from u2net.models.card import METADATA_KEY, Card
from u2net.net.checkpoint import describe
from u2net.net.constant_channels import find_levels, subtract_levels
from u2net.net.feeding import compare_masks, with_preprocessing
from u2net.net.model import ConvBlock, U2Net
from u2net.net.static import with_fixed_size
from u2net.system.files import atomic_write

OPSET = 18
"""The first in which `Resize` takes the size of chosen axes, which spares four nodes per resize."""

STATIC_OPSETS = range(13, 22)
"""Those that a graph for one size can be written in. Without a choice it is the first, which most engines know; before
it, `Resize` needs scales beside sizes, and `Softmax` does not go over channels alone."""

_HALF = ".half"  # behind the name of a weight that is kept in 16 bits

TOLERANCE = 1e-3
"""Largest difference of a probability between torch and ONNX Runtime that is accepted: a quarter of a grey level."""


def export_onnx(
    network: U2Net,
    path: str | PathLike[str],
    card: Card,
    *,
    all_outputs: bool = False,
    half: bool = False,
    static: bool = False,
    opset: int | None = None,
    preprocessing: bool = False,
) -> None:
    """Write the network to `path`, after comparing it with torch at several sizes.

    The file takes `input`, float32 (B, c_in, H, W) as `card.transform` makes it, and gives `saliency`, float32
    (B, num_classes, H, W), probabilities in [0, 1]; with `all_outputs` the six side maps follow as `side1` to
    `side6`. B, H and W are free. With `half` the file keeps weights in 16 bits and is half as long; they are rounded
    by a part in 2,048 at most, and arithmetic stays float32.

    With `static` the file takes a single picture of the size of `card.transform`, and its graph is plain: nothing is
    computed but the network, so that engines open it that know little of ONNX, such as OpenCV's. Only then `opset`, one
    of `STATIC_OPSETS`, chooses the version of ONNX's operations; without it that is the first.

    With `preprocessing`, which implies `static`, the file takes `image`, uint8 (1, H, W, 3), RGB of any size, and gives
    `mask`, uint8 (1, H, W), as `Session.mask` makes it: for programs that have no code of ours.

    Raises InvalidModel if ONNX Runtime and torch differ by more than `TOLERANCE` or weights do not fit 16 bits, OSError
    if `path` cannot be written, ValueError for an opset that cannot be written or preprocessing that cannot be done;
    then nothing was changed.
    """
    if preprocessing and (all_outputs or network.stages[0].c_in != 3):
        raise ValueError("preprocessing is for networks that see RGB, and makes one mask, without all_outputs")
    static = static or preprocessing
    model = to_onnx(network, card, all_outputs=all_outputs, half=half, static=static, opset=opset)
    if preprocessing:
        model = with_preprocessing(model, card.transform)
    with atomic_write(path) as file:
        file.write(model.SerializeToString(deterministic=True))
        file.flush()
        written, kept = Path(file.name), _as_kept(network, half)
        if preprocessing:
            compare_masks(written, kept, card.transform)
        else:
            width, height = card.transform.size
            # The usual size, an odd one and a batch.
            shapes = [(1, height, width)] if static else [(1, 320, 320), (1, 129, 95), (2, 64, 48)]
            _compare_with_torch(written, kept, all_outputs, shapes)


def to_onnx(
    network: U2Net,
    card: Card,
    *,
    all_outputs: bool = False,
    half: bool = False,
    static: bool = False,
    opset: int | None = None,
) -> onnx.ModelProto:
    """The ONNX model that `export_onnx` writes."""
    if opset is not None and (not static or opset not in STATIC_OPSETS):
        known = f"{STATIC_OPSETS[0]} to {STATIC_OPSETS[-1]} with `static`"
        raise ValueError(f"opset is {known}, and {OPSET} for a graph of any size, got {opset}")
    nodes, weights = to_graph(network, all_outputs=all_outputs)
    if half:
        weights = _rounded(weights)
    if not static:  # to add levels again takes a map of ones of the picture's size
        nodes, weights = subtract_levels(nodes, weights, find_levels(network))
    consumed = {name for node in nodes for name in node.input}
    outputs = [node.output[0] for node in nodes if node.output[0] not in consumed]
    graph = helper.make_graph(
        nodes,
        "u2net",
        [_value_info("input", network.stages[0].c_in)],
        [_value_info(name, network.num_classes) for name in outputs],
        [numpy_helper.from_array(value.cpu().float().numpy(), key) for key, value in weights.items()],
    )
    if half:
        _halve(graph)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,  # of the same age as the opset, so that older runtimes open the file too
        producer_name="u2net",
    )
    if static:
        model = with_fixed_size(model, card.transform.size)
        model.opset_import[0].version = opset or STATIC_OPSETS[0]
        model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    card = replace(describe(network, card), transform=replace(card.transform, output="probabilities"))
    helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.checker.check_model(model)
    return model


def to_graph(network: U2Net, *, all_outputs: bool = False) -> tuple[list[onnx.NodeProto], dict[str, Tensor]]:
    """The ONNX nodes of the network in order, and their folded weights by our state dict's keys.

    The nodes start from `input`; the last ones of each path give `saliency`, `side1`, … as probabilities.
    """
    translation = _Translation(fx.symbolic_trace(_Probabilities(fold_batch_norm(network), all_outputs)))
    outputs = translation.run("input")
    names = ("saliency", *(f"side{i + 1}" for i in range(len(network.sides))))
    renamed = dict(zip(outputs, names, strict=False))
    for node in translation.nodes:
        node.output[0] = renamed.get(node.output[0], node.output[0])
    return translation.nodes, translation.weights


def fold_batch_norm(network: U2Net) -> U2Net:
    """A copy for inference in which each batch normalisation has become part of its convolution."""
    folded = copy.deepcopy(network).eval()
    for block in folded.modules():
        if isinstance(block, ConvBlock):
            if not block.conv.weight.is_meta:  # without numbers torch would load its compiler, for seconds, for nothing
                block.conv = fuse_conv_bn_eval(block.conv, block.norm)
            block.norm = nn.Identity()  # type: ignore[assignment]
    return folded


class _Probabilities(nn.Module):
    """What the file computes: the fused map, or all seven."""

    def __init__(self, network: U2Net, all_outputs: bool) -> None:
        super().__init__()
        self.network = network
        self.all_outputs = all_outputs

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.all_outputs:
            return tuple(self.network.probabilities(logits) for logits in self.network(x))
        return (self.network.saliency(x),)


class _Translation(fx.Interpreter):
    """Walks a trace with names of ONNX tensors for values and writes down an ONNX node for each step."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Tensor] = {}
        self.shapes: dict[str, str] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:  # noqa: ARG002
        """Convolutions and ReLU; what the folding left of batch normalisation passes its input on."""
        module = self.fetch_attr(target)
        (x,) = args
        if isinstance(module, nn.Conv2d):
            name = target.removeprefix("network.")
            parameters = {f"{name}.{key}": value.detach() for key, value in module.named_parameters()}
            self.weights.update(parameters)
            window = {"kernel_shape": module.kernel_size, "dilations": module.dilation}
            return self._node("Conv", x, *parameters, **window, pads=[int(n) for n in module.padding] * 2)
        if isinstance(module, nn.ReLU):
            return self._node("Relu", x)
        if isinstance(module, nn.Identity):
            return str(x)
        raise TypeError(f"no ONNX form is known for {type(module).__name__}")

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Pooling, resizing, concatenation, addition, and the size of a map."""
        if target is F.max_pool2d:
            return self._node("MaxPool", args[0], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        if target is F.interpolate:
            no_region_no_scales = ("", "")
            return self._node("Resize", args[0], *no_region_no_scales, kwargs["size"], axes=[2, 3], mode="linear")
        if target is torch.cat:
            return self._node("Concat", *args[0], axis=kwargs["dim"])
        if target is operator.add:
            return self._node("Add", *args)
        if target is getattr:  # x.shape …
            if args[0] not in self.shapes:
                self.shapes[args[0]] = self._node("Shape", args[0], start=2)
            return self.shapes[args[0]]
        if target is operator.getitem:  # … [-2:], which the Shape node has already cut
            return args[0]
        raise TypeError(f"no ONNX form is known for {target}")

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The functions that make probabilities."""
        if target == "sigmoid":
            return self._node("Sigmoid", args[0])
        if target == "softmax":
            return self._node("Softmax", args[0], axis=kwargs["dim"])
        raise TypeError(f"no ONNX form is known for {target}")

    def _node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def _rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name in float32, with convolutions' weights rounded to 16 bits; biases stay.

    Raises InvalidModel for numbers that are too large.
    """
    kept = {name: value.half().float() if name.endswith(".weight") else value for name, value in weights.items()}
    for name, value in kept.items():
        if not value.isfinite().all():
            raise InvalidModel(f"{name} holds numbers beyond 65,504, the largest of 16 bits")
    return kept


def _halve(graph: onnx.GraphProto) -> None:
    """Keep weights, which `_rounded` has rounded, in 16 bits, each behind a `Cast`: runtimes do it once, on opening."""
    casts = []
    for tensor in graph.initializer:
        if (name := tensor.name).endswith(".weight"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float16"), name + _HALF))
            casts.append(helper.make_node("Cast", [name + _HALF], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def widen(graph: onnx.GraphProto) -> None:
    """Put back the float32 weights of a graph that was exported with `half`. Other graphs stay as they are."""
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


def _value_info(name: str, channels: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "height", "width"])


def _as_kept(network: U2Net, half: bool) -> U2Net:
    """A copy that computes what the file should: on the CPU, in float32, with weights as the file keeps them."""
    network = copy.deepcopy(network).cpu().float().eval()
    if half:
        network = fold_batch_norm(network)
        network.load_state_dict(_rounded(network.state_dict()))
    return network


@torch.no_grad()
def _compare_with_torch(path: Path, network: U2Net, all_outputs: bool, shapes: Iterable[tuple[int, int, int]]) -> None:
    """Raise InvalidModel unless ONNX Runtime gives torch's maps for noise of these shapes, (B, H, W)."""
    expected_maps = _Probabilities(network, all_outputs)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    for shape in shapes:
        batch = random.standard_normal((shape[0], network.stages[0].c_in, *shape[1:])).astype(np.float32)
        found = session.run(None, {"input": batch})
        for ours, theirs in zip(found, expected_maps(torch.from_numpy(batch)), strict=True):
            difference = float(np.abs(ours - theirs.numpy()).max())
            if not difference <= TOLERANCE:  # NaN counts as a difference too
                raise InvalidModel(f"ONNX Runtime differs from torch by {difference:.2g} at {shape[1:]}")
