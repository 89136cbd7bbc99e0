import numpy as np
import pytest

from u2net import new_session
from u2net.errors import InvalidModel
from u2net.inference import origin
from u2net.models.onnx_file import read_metadata
from u2net.models.onnx_graph import read_graph
from u2net.models.onnx_sizes import Sizes, check_sizes
from u2net.models.zoo import find

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

node = helper.make_node
END = node("Relu", ["k"], ["y"])
LARGE = np.array([1, 1, 2**14, 2**15])
ONE = np.ones((1, 1, 1, 1), np.float32)
WINDOW = np.ones((1, 100, 63, 63), np.float32)
BODY = helper.make_graph([node("Identity", ["m"], ["w"])], "body", [], [helper.make_tensor_value_info("w", 1, None)])


def model(*nodes, **constants) -> bytes:
    """From `x`, (B, 3, 320, 320), over `m`, (B, 1, 320, 320), to `y`; constants are arrays by name."""
    constants = {"weight": np.ones((1, 3, 1, 1), np.float32), **constants}
    made = helper.make_graph(
        [node("Conv", ["x", "weight"], ["m"]), *nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 320, 320])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializer=[numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def chain(number: int, operation: str, *others: str, first: str = "m", last: str = "y", **attributes):
    names = [first, *(f"{last}{i}" for i in range(1, number)), last]
    return [node(operation, [names[i], *others], [names[i + 1]], **attributes) for i in range(number)]


def doubled() -> list[onnx.NodeProto]:
    names = ["m", *(f"y{i}" for i in range(40)), "y"]
    return [node("Concat", [names[i]] * 2, [names[i + 1]], axis=1) for i in range(41)]


TOO_MUCH = {
    "a constant of a shape": model(node("ConstantOfShape", ["s"], ["k"]), END, s=LARGE),
    "a shape that is computed": model(
        node("Shape", ["m"], ["a"]),
        node("Mul", ["a", "b"], ["s"]),
        node("ConstantOfShape", ["s"], ["k"]),
        END,
        b=np.array([1, 1, 50, 90]),
    ),
    "expand": model(node("Expand", ["m", "s"], ["k"]), END, s=np.array([2**12, 1, 1, 1])),
    "resize by scales": model(node("Resize", ["m", "", "s"], ["k"]), END, s=np.array([1, 1, 60, 90], np.float32)),
    "resize to sizes": model(node("Resize", ["m", "", "", "s"], ["k"]), END, s=LARGE),
    "pad": model(node("Pad", ["m", "p"], ["k"]), END, p=np.array([0, 0, 0, 0, 0, 0, 2**15, 2**14])),
    "padding of a convolution": model(node("Conv", ["m", "one"], ["k"], pads=[2**14] * 4), END, one=ONE),
    "transposed convolution": model(node("ConvTranspose", ["m", "one"], ["k"], strides=[99, 99]), END, one=ONE),
    "channels": model(node("Conv", ["m", "wide"], ["k"]), END, wide=np.ones((3000, 1, 1, 1), np.float32)),
    "doubling": model(*doubled()),
    "each with each": model(
        node("Reshape", ["m", "s"], ["a"]),
        node("Reshape", ["m", "t"], ["b"]),
        node("Add", ["a", "b"], ["k"]),
        END,
        s=np.array([1, 1, -1, 1]),
        t=np.array([1, 1, 1, -1]),
    ),
    "products": model(*chain(2000, "Conv", "w", pads=[31] * 4), w=np.ones((1, 1, 63, 63), np.float32)),
    "pools": model(*chain(1000, "MaxPool", kernel_shape=[63, 63], pads=[31] * 4)),
    "copies of a transposed convolution": model(node("ConvTranspose", ["m", "w"], ["k"], pads=[31] * 4), END, w=WINDOW),
    "copies of a convolution in integers": model(
        node("Cast", ["m"], ["i"], to=2),
        node("Expand", ["i", "s"], ["j"]),
        node("ConvInteger", ["j", "w"], ["k"], pads=[31] * 4),
        node("Cast", ["k"], ["y"], to=1),
        s=np.array([1, 100, 1, 1]),
        w=WINDOW.astype(np.uint8),
    ),
    "steps": model(node("Expand", ["m", "s"], ["k"]), *chain(300, "Relu", first="k"), s=np.array([500, 1, 1, 1])),
}
REFUSED = {
    "a loop": model(node("Loop", ["", "t", "m"], ["y"], body=BODY), t=np.array(True)),
    "a branch": model(node("If", ["t"], ["y"], then_branch=BODY, else_branch=BODY), t=np.array(True)),
    "tile": model(node("Tile", ["m", "s"], ["y"]), s=LARGE),
    "range": model(node("Range", ["a", "b", "c"], ["y"]), a=0, b=2**40, c=1),
    "another domain": model(node("Relu", ["m"], ["y"], domain="other")),
}
UNTOLD = {
    "sizes out of the picture": model(
        node("Reshape", ["m", "flat"], ["a"]),
        node("Cast", ["a"], ["s"], to=7),
        node("Expand", ["m", "s"], ["y"]),
        flat=np.array([-1]),
    ),
    "a kernel as large as the picture": model(node("Conv", ["m", "w"], ["y"]), w=np.ones((1, 1, 300, 300), np.float32)),
    "a name given twice": model(node("Relu", ["m"], ["m"]), node("Relu", ["m"], ["y"])),
    "an axis that is not there": model(node("Transpose", ["m"], ["y"], perm=[0, 1, 2, 7])),
}


SOUND = {
    "what quantize_dynamic of ONNX Runtime makes of a convolution": model(
        node("DynamicQuantizeLinear", ["m"], ["q", "scale", "zero"]),
        node("ConvInteger", ["q", "w", "zero"], ["i"], pads=[1] * 4),
        node("Cast", ["i"], ["f"], to=1),
        node("Mul", ["scale", "of_weights"], ["of_both"]),
        node("Mul", ["f", "of_both"], ["y"]),
        w=np.ones((1, 1, 3, 3), np.uint8),
        of_weights=np.float32(0.1),
    ),
    "a small constant in half precision": model(
        node("Cast", ["one"], ["h"], to=10), node("Cast", ["h"], ["o"], to=1), node("Mul", ["m", "o"], ["y"]), one=ONE
    ),
    "a node at the end whose result others take": model(node("Relu", ["z"], ["y"]), node("Relu", ["m"], ["z"])),
}


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """What is said of a file that no runtime may open."""

    def refuse(*_):
        raise AssertionError("a runtime has opened it")

    def refusal(content: bytes) -> str:
        (tmp_path / "a.onnx").write_bytes(content)
        with pytest.raises(InvalidModel) as caught:
            new_session(tmp_path / "a.onnx", runtime="onnxruntime", threads=1)
        return str(caught.value)

    monkeypatch.setitem(origin.RUNTIMES, "onnxruntime", origin.RUNTIMES["onnxruntime"]._replace(open=refuse))
    return refusal


@pytest.mark.parametrize("content", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_graph_that_would_fill_the_memory_or_take_for_ever_is_refused(refusal, content):
    assert refusal(content) == "a.onnx would take more memory or time than any U²-Net"


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_operations_that_no_network_of_convolutions_has_are_refused(refusal, content):
    assert refusal(content).endswith("which is refused: U²-Nets do not need it")


@pytest.mark.parametrize("content", UNTOLD.values(), ids=UNTOLD)
def test_a_graph_whose_sizes_cannot_be_told_is_refused(refusal, content):
    assert "the size of what" in refusal(content)


@pytest.mark.parametrize("content", SOUND.values(), ids=SOUND)
def test_what_converters_write_passes(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    session = new_session(tmp_path / "a.onnx", runtime="onnxruntime", threads=1)
    assert session.saliency(np.zeros((320, 320, 3), np.uint8)).shape == (320, 320)


def test_a_circle_is_refused(refusal):
    assert "damaged" in refusal(model(node("Relu", ["z"], ["y"]), node("Relu", ["y"], ["z"])))


def test_a_constant_that_claims_more_than_the_file_holds_is_refused(refusal):
    made = onnx.ModelProto.FromString(model(node("Add", ["m", "z"], ["y"])))
    made.graph.initializer.append(TensorProto(name="z", data_type=1, dims=[2**15, 2**15]))
    assert "damaged" in refusal(made.SerializeToString())


def test_functions_are_refused(refusal):
    made = onnx.ModelProto.FromString(model(node("Relu", ["m"], ["y"])))
    made.functions.add(name="f", domain="other")
    assert "functions" in refusal(made.SerializeToString())


def test_attributes_without_end_are_refused(refusal):
    made = onnx.ModelProto.FromString(model(node("Relu", ["m"], ["y"])))
    made.graph.node.add(op_type="Relu").attribute.extend([onnx.AttributeProto()] * 260_000)
    assert "damaged" in refusal(made.SerializeToString())


def test_nodes_without_end_are_refused(refusal):
    made = onnx.ModelProto.FromString(model(node("Relu", ["m"], ["y"])))
    made.graph.node.extend([onnx.NodeProto()] * 10_000)
    assert "damaged" in refusal(made.SerializeToString())


@pytest.mark.parametrize("name", ["u2netp", "u2netp-int8", "u2netp_distilled", "u2netp_distilled-int8"])
def test_our_own_files_pass(name):
    path = find("u2netp").with_name(f"{name}.onnx")
    read_metadata(path)
    check_sizes(path, (320, 320))


def test_a_small_size_is_no_reason_to_refuse():
    check_sizes(find("u2netp"), (32, 48))


def test_sizes_are_those_that_onnx_infers(data):
    """Its own inference, over the file that rembg publishes, as torch once exported it."""
    found, inferred = sizes_of(data / "weights/u2netp.onnx")
    assert len(inferred) > 400
    assert found == inferred


def test_sizes_of_what_other_networks_have_are_those_that_onnx_infers(tmp_path):
    """As in attention over channels."""
    made = model(
        node("ReduceMean", ["m"], ["mean"], axes=[2, 3]),
        node("ReduceMax", ["m"], ["max"], keepdims=0),
        node("GlobalMaxPool", ["m"], ["most"]),
        node("Pow", ["mean", "two"], ["squared"]),
        node("Sqrt", ["squared"], ["root"]),
        node("Mul", ["m", "root"], ["y"]),
        two=np.float32(2),
    )
    fixed = onnx.ModelProto.FromString(made)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, tmp_path / "a.onnx")
    found, inferred = sizes_of(tmp_path / "a.onnx")
    assert len(inferred) >= 5
    assert found == inferred


def sizes_of(path):
    """The sizes that we find out and those that onnx infers, by the names of the tensors that it knows."""
    check_sizes(path, (320, 320))
    graph = read_graph(path)
    sizes = Sizes(dict(graph.shapes), dict(graph.values))
    sizes.shapes |= dict.fromkeys(graph.inputs, (1, 3, 320, 320))
    for each in graph.nodes:
        sizes.add(each)
    inferred = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph.value_info
    known = {value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in inferred}
    known = {name: shape for name, shape in known.items() if all(shape)}
    return {name: sizes.shapes[name] for name in known}, known
