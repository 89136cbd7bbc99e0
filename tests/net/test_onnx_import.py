import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from u2net.errors import InvalidModel
from u2net.models.card import METADATA_KEY, Card
from u2net.models.transform import Transform
from u2net.models.zoo import find
from u2net.net import Checkpoint, Stage, export_onnx, load_checkpoint
from u2net.net.export import to_onnx

Change = Callable[[onnx.GraphProto], object]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# ---- Official weights ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_official(official) -> Checkpoint:
    return load_checkpoint(official)


@torch.no_grad()
def test_the_official_file_gives_the_official_seven_maps(from_official, official, run_onnx):
    x = noise(1, 3, 320, 320)
    found = [logits.sigmoid() for logits in from_official.network(x)]
    for ours, theirs in zip(found, run_onnx(official, x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_the_official_file_has_the_digest_that_is_printed_for_the_packaged_one(from_official):
    (entry,) = (e for e in onnx.load(find("u2netp")).metadata_props if e.key == METADATA_KEY)
    assert from_official.card.sha256 == json.loads(entry.value)["sha256"]


def test_the_official_file_has_the_papers_number_of_parameters(from_official):
    assert from_official.card.num_parameters == 1_131_181


@torch.no_grad()
def test_the_packaged_file_gives_the_same_saliency_in_torch(authors, run_onnx):
    x = noise(2, 3, 65, 96)
    (theirs,) = run_onnx(find("u2netp"), x)
    torch.testing.assert_close(authors.network.saliency(x), theirs, atol=1e-5, rtol=0)


def test_normalisation_that_is_folded_away_leaves_its_input_as_it_is(authors):
    x = noise(1, 64, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(authors.network.encoder[0].conv_in.norm(x), x, atol=1e-6, rtol=1e-5)


# ---- Our own files -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def returned(thin_file) -> Checkpoint:
    """The thin network, exported and read back."""
    return load_checkpoint(thin_file)


@torch.no_grad()
def test_our_own_export_comes_back_as_the_network_that_it_was(thin, returned):
    x = noise(2, 3, 64, 48)
    for back, before in zip(returned.network(x), thin(x), strict=True):
        torch.testing.assert_close(back, before, atol=1e-4, rtol=1e-4)


def test_the_table_is_recognised_from_the_convolutions(thin, returned):
    assert returned.network.stages == thin.stages


def test_the_card_of_our_own_export_comes_back(returned):
    card = returned.card
    assert (card.name, card.licence, card.source) == ("thin", "MIT", "made up for a test")


def test_a_file_without_a_card_is_named_after_the_file(tmp_path, least, least_table):
    model = to_onnx(least, Card(name="other"))
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "mine.onnx")
    assert load_checkpoint(tmp_path / "mine.onnx", least_table).card.name == "mine"


def test_widths_that_all_differ_are_recognised(tmp_path, new_network):
    widths = [(3, 1, 2), (2, 2, 3), (3, 1, 1), (1, 2, 4), (4, 1, 2), (2, 2, 1)]
    widths += [(1 + 2, 2, 3), (3 + 4, 1, 2), (2 + 1, 1, 1), (1 + 3, 2, 4), (4 + 2, 1, 3)]
    heights = (7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7)
    table = tuple(Stage(h, i in (4, 5, 6), *widths[i]) for i, h in enumerate(heights))
    onnx.save(to_onnx(new_network(table), Card(name="a")), tmp_path / "a.onnx")
    assert load_checkpoint(tmp_path / "a.onnx").network.stages == table


@torch.no_grad()
def test_several_classes_come_back(tmp_path, new_network, least_table):
    network = new_network(least_table, num_classes=3)
    card = Card(name="parts", classes=("none", "head", "hand"))
    onnx.save(to_onnx(network, card), tmp_path / "a.onnx")
    back = load_checkpoint(tmp_path / "a.onnx", least_table)
    x = noise(1, 3, 40, 33)
    torch.testing.assert_close(back.network.saliency(x), network.saliency(x), atol=1e-5, rtol=0)


def test_a_logits_file_comes_back_like_one_of_probabilities(tmp_path, least, least_table):
    model = to_onnx(least, Card(name="a", transform=Transform(output="logits")))
    (sigmoid,) = (node for node in model.graph.node if node.op_type == "Sigmoid")
    model.graph.output[0].name = sigmoid.input[0]
    model.graph.node.remove(sigmoid)
    onnx.save(model, tmp_path / "a.onnx")
    x = noise(1, 3, 40, 33)
    with torch.no_grad():
        torch.testing.assert_close(load_checkpoint(tmp_path / "a.onnx", least_table).network(x), least(x))


def test_weights_in_constant_nodes_are_found(tmp_path, least, least_table):
    model = to_onnx(least, Card(name="a"))
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    for tensor in tensors:
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    onnx.save(model, tmp_path / "a.onnx")
    x = noise(1, 3, 40, 33)
    with torch.no_grad():
        torch.testing.assert_close(load_checkpoint(tmp_path / "a.onnx", least_table).network(x), least(x))


def test_a_network_read_from_onnx_can_be_exported_again(tmp_path, least_table, least, run_onnx):
    onnx.save(to_onnx(least, Card(name="a")), tmp_path / "a.onnx")
    network, card = load_checkpoint(tmp_path / "a.onnx", least_table)
    export_onnx(network, tmp_path / "b.onnx", card)
    x = noise(1, 3, 40, 33)
    torch.testing.assert_close(run_onnx(tmp_path / "b.onnx", x), run_onnx(tmp_path / "a.onnx", x), atol=1e-5, rtol=0)


# ---- Graphs that are not those of a U²-Net -------------------------------------------------------------------


def first(graph: onnx.GraphProto, kind: str, index: int = 0) -> onnx.NodeProto:
    return [node for node in graph.node if node.op_type == kind][index]


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    for attribute in list(node.attribute):
        if attribute.name == name:
            node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))


def set_weight(graph: onnx.GraphProto, name: str, array: np.ndarray) -> None:
    for tensor in graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))


def weight(graph: onnx.GraphProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == name)


def swap_concat(graph: onnx.GraphProto) -> None:
    node = first(graph, "Concat")
    node.input[:] = [node.input[1], node.input[0]]


def drop_concat_input(graph: onnx.GraphProto) -> None:
    del first(graph, "Concat", -1).input[0]


def bypass(kind: str, index: int = 0) -> Change:
    """Cut a node out: those behind it take its input."""

    def change(graph: onnx.GraphProto) -> None:
        node = first(graph, kind, index)
        graph.node.remove(node)
        for other in graph.node:
            other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]

    return change


def rename(kind: str, other: str, index: int = 0) -> Change:
    def change(graph: onnx.GraphProto) -> None:
        first(graph, kind, index).op_type = other

    return change


def with_attribute(kind: str, name: str, value: object, index: int = 0) -> Change:
    return lambda graph: set_attribute(first(graph, kind, index), name, value)


def rewire_skip(graph: onnx.GraphProto) -> None:
    """A residual that is taken from elsewhere."""
    first(graph, "Add").input[1] = first(graph, "Add", 1).input[1]


def other_input(graph: onnx.GraphProto) -> None:
    first(graph, "Conv").input[0] = first(graph, "Conv").output[0]


def second_input(graph: onnx.GraphProto) -> None:
    """The network runs on something that no picture is put into."""
    first(graph, "Conv").input[0] = "nowhere"


def misshape(graph: onnx.GraphProto) -> None:
    set_weight(graph, "encoder.1.encoder.1.conv.weight", np.zeros((2, 2, 5, 5), np.float32))


def not_finite(graph: onnx.GraphProto) -> None:
    array = weight(graph, "encoder.1.encoder.1.conv.weight").copy()
    array[0, 0, 0, 0] = np.nan
    set_weight(graph, "encoder.1.encoder.1.conv.weight", array)


def half(graph: onnx.GraphProto) -> None:
    name = "encoder.1.encoder.1.conv.weight"
    set_weight(graph, name, weight(graph, name).astype(np.float16))


def lose_weight(graph: onnx.GraphProto) -> None:
    graph.initializer.remove(next(t for t in graph.initializer if t.name == "encoder.1.encoder.1.conv.weight"))


DIFFERENCES: dict[str, tuple[Change, str]] = {
    "inputs of a Concat swapped": (swap_concat, "not the graph of a U²-Net"),
    "an input of the fusion left out": (drop_concat_input, "has 1 inputs"),
    "concatenated along the height": (with_attribute("Concat", "axis", 2), "not the graph"),
    "another dilation": (with_attribute("Conv", "dilations", [3, 3], 2), "not the graph"),
    "another padding": (with_attribute("Conv", "pads", [1, 1, 0, 0], 1), "not the graph"),
    "another stride": (with_attribute("Conv", "strides", [2, 2], 1), "not the graph"),
    "groups": (with_attribute("Conv", "group", 2, 1), "not the graph"),
    "a convolution cut out": (bypass("Conv", 1), "Relu|Conv|MaxPool"),
    "a ReLU cut out": (bypass("Relu", 2), "Conv .*where Relu"),
    "a ReLU replaced": (rename("Relu", "Sigmoid", 2), "Sigmoid .*where Relu"),
    "a residual cut out": (bypass("Add"), "where Add"),
    "a residual from elsewhere": (rewire_skip, "should be one map|not the graph"),
    "a sum become a product": (rename("Add", "Mul"), "Mul .*where Add"),
    "mean pooling": (rename("MaxPool", "AveragePool"), "AveragePool .*where MaxPool"),
    "floored pooling": (with_attribute("MaxPool", "ceil_mode", 0), "not the graph"),
    "a wider pooling": (with_attribute("MaxPool", "kernel_shape", [3, 3]), "not the graph"),
    "nearest resizing": (with_attribute("Resize", "mode", "nearest"), "not the graph"),
    "aligned corners": (with_attribute("Resize", "coordinate_transformation_mode", "align_corners"), "not the graph"),
    "fed from itself": (other_input, "not the graph"),
    "fed from nowhere": (second_input, "nothing where nothing|not the graph"),
    "weights of another shape": (misshape, r"encoder.1.encoder.1.conv.weight is \(2, 2, 5, 5\), not \(2, 2, 3, 3\)"),
    "weights not finite": (not_finite, "encoder.1.encoder.1.conv.weight is not finite"),
    "weights of half precision": (half, "float16, not float32"),
    "weights missing": (lose_weight, "weights of .* are missing"),
    # Settings that we never write but that change what is computed.
    "dilated pooling": (with_attribute("MaxPool", "dilations", [2, 2]), "not the graph"),
    "padding by rule": (with_attribute("Conv", "auto_pad", "VALID", 1), "not the graph"),
    "resizing that keeps the aspect": (with_attribute("Resize", "keep_aspect_ratio_policy", "not_larger"), "not the"),
    "an operation of another domain": (lambda graph: setattr(first(graph, "Relu"), "domain", "other"), "not the graph"),
}


@pytest.fixture(scope="module")
def graph_of_least(least) -> bytes:
    return to_onnx(least, Card(name="a")).SerializeToString()


@pytest.fixture
def changed(tmp_path, graph_of_least) -> Callable[[Change], Path]:
    """The least network's file with a change made to its graph."""

    def save(change: Change) -> Path:
        model = onnx.ModelProto.FromString(graph_of_least)
        change(model.graph)
        onnx.save(model, tmp_path / "changed.onnx")
        return tmp_path / "changed.onnx"

    return save


def test_an_unchanged_graph_is_accepted(changed, least_table):
    assert load_checkpoint(changed(lambda _graph: None), least_table).network.stages == least_table


@pytest.mark.parametrize(("change", "message"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_graph_that_differs_is_refused(changed, least_table, change, message):
    with pytest.raises(InvalidModel, match=message):
        load_checkpoint(changed(change), least_table)


def lose_weights_input(graph: onnx.GraphProto) -> None:
    del first(graph, "Conv", 1).input[1:]


def lose_all_inputs(kind: str) -> Change:
    def change(graph: onnx.GraphProto) -> None:
        del first(graph, kind).input[:]

    return change


def untyped_attribute(graph: onnx.GraphProto) -> None:
    next(a for a in first(graph, "Conv").attribute if a.name == "dilations").type = onnx.AttributeProto.UNDEFINED


def referring_attribute(graph: onnx.GraphProto) -> None:
    next(a for a in first(graph, "Conv").attribute if a.name == "dilations").ref_attr_name = "elsewhere"


BROKEN: dict[str, Change] = {
    "no nodes": lambda graph: graph.ClearField("node"),
    "no output": lambda graph: graph.ClearField("output"),
    "no input": lambda graph: graph.ClearField("input"),
    "no weights": lambda graph: graph.ClearField("initializer"),
    "an unknown output": lambda graph: setattr(graph.output[0], "name", "nowhere"),
    "a convolution without weights": lose_weights_input,
    "a convolution without inputs": lose_all_inputs("Conv"),
    "a sigmoid without input": lose_all_inputs("Sigmoid"),
    "a ReLU without input": lose_all_inputs("Relu"),
    "an empty Concat": lose_all_inputs("Concat"),
    "an attribute without a type": untyped_attribute,
    "an attribute that refers": referring_attribute,
    "a Constant without value": lambda graph: graph.node.append(helper.make_node("Constant", [], ["c"])),
    "weights that are text": lambda g: set_weight(g, "encoder.0.conv_in.conv.weight", np.array(["a"], dtype=object)),
    "weights that are one number": lambda g: set_weight(g, "fuse.weight", np.float32(1)),
    "weights for no class": lambda g: set_weight(g, "fuse.weight", np.zeros((0, 2, 1, 1), np.float32)),
    "a cycle": lambda graph: first(graph, "Conv", 2).input.__setitem__(0, first(graph, "Conv", 2).output[0]),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_broken_graph_is_refused(changed, least_table, change):
    path = changed(change)
    with pytest.raises(InvalidModel, match=r"^changed\.onnx: "):
        load_checkpoint(path, least_table)


def test_a_fusion_without_weights_is_refused_before_its_table_is_guessed(tmp_path, thin_file):
    model = onnx.load(thin_file)
    set_weight(model.graph, "fuse.weight", np.float32(1))
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(InvalidModel, match=r"^changed\.onnx: "):
        load_checkpoint(tmp_path / "changed.onnx")


def test_an_impossible_table_is_the_callers_mistake(thin_file, thin_table):
    with pytest.raises(ValueError, match="odd number of rows") as caught:
        load_checkpoint(thin_file, thin_table[:2])
    assert not isinstance(caught.value, InvalidModel)


def test_the_number_of_convolutions_is_named(changed):
    with pytest.raises(InvalidModel, match="holds 15 convolutions, a U²-Net 119"):
        load_checkpoint(changed(lambda _graph: None))


def test_a_table_that_is_not_the_files_is_refused(thin_file, tiny_table):
    with pytest.raises(InvalidModel, match="not the graph of a U²-Net"):
        load_checkpoint(thin_file, tiny_table)


def test_convolutions_whose_widths_do_not_fit_are_refused(tmp_path, thin_file):
    model = onnx.load(thin_file)
    set_weight(model.graph, "encoder.1.conv_in.conv.weight", np.zeros((4, 9, 3, 3), np.float32))
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(InvalidModel, match="do not fit each other"):
        load_checkpoint(tmp_path / "a.onnx")


def test_a_differing_official_graph_is_refused(tmp_path, official):
    model = onnx.load(official)
    concat = next(n for n in model.graph.node if n.op_type == "Concat" and len(n.input) == 2 and n.input[0].isdigit())
    concat.input[:] = reversed(concat.input)
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(InvalidModel):
        load_checkpoint(tmp_path / "a.onnx")


def test_batch_normalisation_left_in_the_graph_is_refused(tmp_path, least_table, changed):
    def add(graph: onnx.GraphProto) -> None:
        relu = first(graph, "Relu")
        ones = [helper.make_tensor(f"v{i}", onnx.TensorProto.FLOAT, [4], [2.0] * 4) for i in range(4)]
        graph.initializer.extend(ones)
        graph.node.append(helper.make_node("BatchNormalization", [relu.input[0], "v0", "v1", "v2", "v3"], ["normal"]))
        relu.input[0] = "normal"

    with pytest.raises(InvalidModel, match=r"BatchNormalization .*where Conv"):
        load_checkpoint(changed(add), least_table)


def test_a_card_that_is_none_is_refused(tmp_path, thin_file):
    model = onnx.load(thin_file)
    helper.set_model_props(model, {METADATA_KEY: "{}"})
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(InvalidModel, match=r"^a\.onnx: "):
        load_checkpoint(tmp_path / "a.onnx")
