from pathlib import Path

import numpy as np
import pytest

from u2net.errors import InvalidModel
from u2net.inference.ncnn_graph import from_onnx
from u2net.inference.runtimes import ncnn_backend
from u2net.models.card import Card
from u2net.models.transform import Transform

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

WIDTH, HEIGHT, CHANNELS = 13, 9, 3
_RANDOM = np.random.default_rng(0)


def drawn(*shape: int) -> np.ndarray:
    return _RANDOM.standard_normal(shape, np.float32)


KERNEL, BIAS, SCALE = drawn(4, CHANNELS, 3, 3), drawn(4), drawn(1, CHANNELS, 1, 1)
SIZES = np.array([20, 31])


def model(*nodes, outputs: tuple[str, ...] = ("y",), **constants: np.ndarray):
    """A model of the nodes from `x` to `outputs`, for pictures of one size."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, None, None]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def node(kind: str, *inputs: str, output: str = "y", **attributes):
    return helper.make_node(kind, inputs or ["x"], [output], **attributes)


def resize(**attributes):
    """Bilinear, to `sizes`, unless attributes say otherwise."""
    return node("Resize", "x", "", "", "sizes", **{"mode": "linear", "axes": [2, 3]} | attributes)


def lines(graph) -> list[str]:
    return graph.layers.splitlines()


def test_the_text_begins_with_ncnns_number_and_counts_its_layers_and_maps():
    graph = from_onnx(model(node("Sigmoid")))
    assert lines(graph) == ["7767517", "2 2", "Input layer0 0 1 0", "Sigmoid layer1 1 1 0 1"]
    assert (graph.source, graph.result) == ("0", "1")


def test_a_convolution_takes_its_relu_in():
    conv = node("Conv", "x", "k", "b", output="c", pads=[1, 2, 3, 4], dilations=[2, 1], strides=[1, 2])
    graph = from_onnx(model(conv, node("Relu", "c"), k=KERNEL[:, :, :, :2], b=BIAS))
    # By ncnn's table: outputs, kernel w and h, dilations w and h, strides w and h, pads left, top, right and bottom,
    # whether there is a bias, how many weights, and 1 for ReLU.
    expected = "0=4 1=2 11=3 2=1 12=2 3=2 13=1 4=2 14=1 15=4 16=3 5=1 6=72 9=1"
    *ends, last = lines(graph)
    assert set(last.split()[6:]) == set(expected.split())
    assert last.startswith("Convolution layer1 1 1 0 1 ")
    assert len(ends) == 3
    tag, weight, bias = graph.weights
    assert tag.tobytes() == b"\0\0\0\0"
    assert weight.size == 72
    assert bias is not weight
    np.testing.assert_array_equal(bias, BIAS)


def test_a_map_with_two_uses_is_handed_out():
    graph = from_onnx(model(node("Add", "x", "x")))
    assert lines(graph)[3:] == ["Split layer1 1 2 0 1 2", "BinaryOp layer2 2 1 2 1 3 0=0"]


def test_a_relu_stays_alone_if_what_it_rectifies_is_used_elsewhere():
    conv = node("Conv", "x", "k", output="c")
    graph = from_onnx(model(conv, node("Relu", "c", output="r"), node("Add", "c", "r"), k=KERNEL))
    assert [line.split()[0] for line in lines(graph)[2:]] == ["Input", "Convolution", "Split", "ReLU", "BinaryOp"]


def test_what_leads_to_other_outputs_is_left_out():
    graph = from_onnx(model(node("Sigmoid"), node("Relu", output="z"), outputs=("y", "z")))
    assert [line.split()[0] for line in lines(graph)[2:]] == ["Input", "Sigmoid"]


SAME = {
    "convolution": (node("Conv", "x", "k", "b", pads=[1, 1, 1, 1]), {"k": KERNEL, "b": BIAS}),
    "without bias": (node("Conv", "x", "k"), {"k": KERNEL}),
    "dilated": (node("Conv", "x", "k", "b", pads=[2, 3, 2, 3], dilations=[2, 3]), {"k": KERNEL, "b": BIAS}),
    "strides and uneven pads": (
        node("Conv", "x", "k", "b", pads=[0, 1, 2, 3], strides=[1, 2]),
        {"k": KERNEL, "b": BIAS},
    ),
    "relu": (node("Relu"), {}),
    "pooling": (node("MaxPool", kernel_shape=[2, 2], strides=[2, 2]), {}),
    "pooling, rounded up": (node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), {}),
    "larger": (resize(), {"sizes": SIZES}),
    "smaller": (resize(), {"sizes": np.array([4, 7])}),
    "torch's name for the same": (resize(coordinate_transformation_mode="pytorch_half_pixel"), {"sizes": SIZES}),
    "concatenation": (node("Concat", "x", "x", axis=1), {}),
    "sum with a constant": (node("Add", "x", "s"), {"s": drawn(1, CHANNELS, HEIGHT, WIDTH)}),
    "floor of each channel": (node("Max", "x", "s"), {"s": SCALE}),
    "sigmoid": (node("Sigmoid"), {}),
    "softmax": (node("Softmax", axis=1), {}),
}


@pytest.mark.parametrize(("operation", "constants"), SAME.values(), ids=SAME)
def test_ncnn_computes_what_onnx_demands(tmp_path, operation, constants):
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    onnx.save(model(operation, **constants), tmp_path / "a.onnx")
    backend = ncnn_backend(Path(tmp_path / "a.onnx"), Card("a", Transform(size=(WIDTH, HEIGHT))), 1)
    batch = drawn(2, CHANNELS, HEIGHT, WIDTH)
    evaluator = ReferenceEvaluator(model(operation, **constants))
    expected = np.concatenate([evaluator.run(None, {"x": part})[0] for part in np.split(batch, 2)])
    np.testing.assert_allclose(backend(batch), expected, rtol=0, atol=1e-5)


OTHERS = {
    "groups": (node("Conv", "x", "k", group=CHANNELS), {"k": drawn(CHANNELS, 1, 3, 3)}),
    "automatic pads": (node("Conv", "x", "k", auto_pad="SAME_UPPER"), {"k": KERNEL}),
    "pooling of three": (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2]), {}),
    "pooling at every pixel": (node("MaxPool", kernel_shape=[2, 2]), {}),
    "nearest": (resize(mode="nearest"), {"sizes": SIZES}),
    "aligned corners": (resize(coordinate_transformation_mode="align_corners"), {"sizes": SIZES}),
    "anti-aliased": (resize(antialias=1), {"sizes": SIZES}),
    "turned sizes": (resize(axes=[3, 2]), {"sizes": SIZES}),
    "scales": (node("Resize", "x", "", "sizes", mode="linear"), {"sizes": np.array([1, 1, 2, 2], np.float32)}),
    "one below the other": (node("Concat", "x", "x", axis=2), {}),
    "softmax along rows": (node("Softmax", axis=3), {}),
    "a number": (node("Add", "x", "s"), {"s": np.float32(1)}),
    "three terms": (node("Max", "x", "x", "x"), {}),
    "a product": (node("Mul", "x", "x"), {}),
    "another's operator": (node("Relu", domain="com.example"), {}),
}


@pytest.mark.parametrize(("operation", "constants"), OTHERS.values(), ids=OTHERS)
def test_what_no_u2net_has_is_refused(operation, constants):
    with pytest.raises(InvalidModel, match="no U²-Net has"):
        from_onnx(model(operation, **constants))
