import collections
import copy
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

import u2net.net.export
from u2net.errors import InvalidModel
from u2net.inference.open import new_session
from u2net.inference.runtimes import openvino_core
from u2net.models.card import METADATA_KEY, Card
from u2net.models.onnx_file import read_metadata
from u2net.models.transform import Transform
from u2net.models.zoo import find
from u2net.net import U2NETP, Stage, U2Net, export_onnx, load_checkpoint
from u2net.net.checkpoint import describe
from u2net.net.export import to_onnx

CARD = Card(name="a", transform=Transform(size=(64, 48), stretch=False), licence="MIT", scores={"maxF": 0.5})


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def probabilities(network: U2Net, x: torch.Tensor) -> list[torch.Tensor]:
    return [logits.sigmoid() for logits in network(x)]


# ---- What the file computes ----------------------------------------------------------------------------------

# (B, H, W): the size of the paper, the authors' photograph turned and odd, and a small one.
SHAPES = [(1, 320, 320), (1, 321, 497), (2, 48, 64)]


@pytest.mark.parametrize(("batch", "height", "width"), SHAPES)
def test_all_seven_outputs_are_those_of_the_network(thin, thin_file, run_onnx, batch, height, width):
    x = noise(batch, 3, height, width)
    torch.testing.assert_close(run_onnx(thin_file, x), probabilities(thin, x), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "height", "width"), SHAPES)
def test_all_seven_outputs_of_the_small_network_are_its_own(new_network, run_onnx, batch, height, width):
    network = new_network(U2NETP)
    x = noise(batch, 3, height, width)
    found = run_onnx(to_onnx(network, CARD, all_outputs=True), x)
    torch.testing.assert_close(found, probabilities(network, x), atol=1e-4, rtol=0)


def test_the_only_output_is_the_fused_map(tiny, run_onnx):
    x = noise(1, 3, 33, 47)
    found = run_onnx(to_onnx(tiny, CARD), x)
    torch.testing.assert_close(found, probabilities(tiny, x)[:1], atol=1e-4, rtol=0)


def test_onnx_own_evaluator_agrees(least):
    """The standard as its authors wrote it down in numpy, independent of any runtime."""
    x = noise(1, 3, 16, 12)
    (found,) = ReferenceEvaluator(to_onnx(least, CARD)).run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), probabilities(least, x)[0], atol=1e-5, rtol=0)


def test_openvino_agrees(tmp_path, tiny):
    pytest.importorskip("openvino")
    x = noise(1, 3, 48, 64)
    export_onnx(tiny, tmp_path / "a.onnx", CARD)
    found = openvino_core().compile_model(tmp_path / "a.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
    torch.testing.assert_close(torch.from_numpy(found), probabilities(tiny, x)[0], atol=1e-4, rtol=0)


def test_a_session_opens_the_file(tmp_path, tiny):
    export_onnx(tiny, tmp_path / "a.onnx", CARD)
    session = new_session(tmp_path / "a.onnx", runtime="onnxruntime", threads=1)
    x = noise(2, 3, 48, 64)
    torch.testing.assert_close(
        torch.from_numpy(session.backend(x.numpy())), probabilities(tiny, x)[0], atol=1e-4, rtol=0
    )


def test_several_classes_become_a_softmax(new_network, tiny_table, run_onnx):
    network = new_network(tiny_table, num_classes=3)
    model = to_onnx(network, CARD)
    assert model.graph.node[-1].op_type == "Softmax"
    x = noise(2, 3, 33, 40)
    with torch.no_grad():
        expected = network(x)[0].softmax(dim=1)
    torch.testing.assert_close(run_onnx(model, x), [expected], atol=1e-4, rtol=0)


@pytest.mark.parametrize("c_in", [1, 4])
def test_other_numbers_of_input_channels_are_exported(tmp_path, new_network, least_table, run_onnx, c_in):
    network = new_network((least_table[0]._replace(c_in=c_in), *least_table[1:]))
    export_onnx(network, tmp_path / "a.onnx", CARD)
    x = noise(1, c_in, 33, 40)
    found = run_onnx(tmp_path / "a.onnx", x)
    torch.testing.assert_close(found, probabilities(network, x)[:1], atol=1e-4, rtol=0)


def test_a_table_of_another_depth_is_exported(new_network, run_onnx):
    rows = [Stage(2, False, 3, 2, 4), *[Stage(3, False, 4, 2, 4)] * 3, *[Stage(2, True, 8, 2, 4)] * 3]
    network = new_network(rows)
    x = noise(1, 3, 50, 41)
    found = run_onnx(to_onnx(network, CARD, all_outputs=True), x)
    torch.testing.assert_close(found, probabilities(network, x), atol=1e-4, rtol=0)


# ---- What the graph looks like -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published() -> onnx.ModelProto:
    """A U²-Net† of ours, fresh from its initialisation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return to_onnx(U2Net(U2NETP).eval(), CARD)


def count(model: onnx.ModelProto) -> dict[str, int]:
    return dict(collections.Counter(node.op_type for node in model.graph.node))


def test_the_small_network_takes_no_more_than_399_nodes(published):
    assert len(published.graph.node) <= 399


def test_the_official_file_takes_2_6_times_as_many_nodes(published, official):
    assert len(onnx.load(official).graph.node) == 1055
    assert len(published.graph.node) / 1055 < 1 / 2.6


def test_the_operations_that_compute_are_those_of_the_official_file(published, official):
    kinds = ("Conv", "Relu", "MaxPool", "Add")
    theirs, ours = count(onnx.load(official)), count(published)
    assert {kind: ours[kind] for kind in kinds} == {kind: theirs[kind] for kind in kinds}


def test_there_is_an_operation_for_each_box_of_the_paper_and_none_beside_but_sizes(published):
    blocks = 2 * sum((7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7))  # 2L convolutions in a block of height L
    pools = 2 * (5 + 4 + 3 + 2) + 5
    joins = 2 * (6 + 5 + 4 + 3) + 3 * 3 + 5 + 1
    expected = {"Conv": blocks + 6 + 1, "Relu": blocks, "MaxPool": pools, "Concat": joins, "Add": 11, "Sigmoid": 1}
    expected["Resize"] = pools + 5  # one for each pooling, and side outputs 2 to 6
    found = count(published)
    assert found.pop("Shape") <= expected["Resize"]
    assert found == expected


def test_the_opset_is_17_or_later(published):
    assert [(entry.domain, entry.version >= 17) for entry in published.opset_import] == [("", True)]


def test_the_model_passes_onnx_full_check(published):
    onnx.checker.check_model(published, full_check=True)


def test_batch_height_and_width_are_free(published):
    for value in (*published.graph.input, *published.graph.output):
        batch, channels, height, width = value.type.tensor_type.shape.dim
        assert (batch.dim_param, height.dim_param, width.dim_param) == ("batch", "height", "width")
        assert channels.dim_value in (1, 3)


def test_all_outputs_have_names(thin_file):
    names = ["saliency", "side1", "side2", "side3", "side4", "side5", "side6"]
    assert [value.name for value in onnx.load(thin_file).graph.output] == names


def test_the_input_and_the_only_output_have_names(published):
    graph = published.graph
    assert ([v.name for v in graph.input], [v.name for v in graph.output]) == (["input"], ["saliency"])


def test_the_weights_have_the_names_of_the_state_dict(tiny):
    names = {tensor.name for tensor in to_onnx(tiny, CARD).graph.initializer}
    assert names == {key for key in tiny.state_dict() if ".norm." not in key}


def test_batch_normalisation_is_folded_by_its_definition(least):
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in to_onnx(least, CARD).graph.initializer}
    conv, norm = least.encoder[0].conv_in.conv, least.encoder[0].conv_in.norm
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + 1e-5)
    expected = (conv.weight * scale[:, None, None, None]).detach().numpy()
    np.testing.assert_allclose(weights["encoder.0.conv_in.conv.weight"], expected, rtol=1e-5)
    expected = ((conv.bias - norm.running_mean) * scale + norm.bias).detach().numpy()
    np.testing.assert_allclose(weights["encoder.0.conv_in.conv.bias"], expected, rtol=1e-4, atol=1e-6)


def test_exporting_twice_gives_the_same_bytes(tmp_path, least):
    for name in ("a", "b"):
        export_onnx(least, tmp_path / f"{name}.onnx", CARD)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_packaged_file_is_what_exporting_it_again_gives(authors):
    again = to_onnx(*authors).graph.node
    packaged = onnx.load(find("u2netp")).graph.node
    assert [node.SerializeToString() for node in again] == [node.SerializeToString() for node in packaged]


# ---- A plain graph of one size -------------------------------------------------------------------------------

ODD = Card("odd", Transform(size=(61, 43)))


@pytest.mark.parametrize(("half", "opset"), [(False, None), (False, 21), (True, None)])
def test_a_static_graph_computes_what_the_network_does(tmp_path, steady, run_onnx, half, opset):
    export_onnx(steady, tmp_path / "a.onnx", ODD, all_outputs=True, half=half, static=True, opset=opset)
    x = noise(1, 3, 43, 61)
    tolerance = 1e-2 if half else 1e-4
    torch.testing.assert_close(run_onnx(tmp_path / "a.onnx", x), probabilities(steady, x), atol=tolerance, rtol=0)


def test_a_static_graph_has_sizes_in_numbers_and_nothing_but_the_network(steady):
    model = to_onnx(steady, ODD, static=True)
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)]
    assert shapes == [[1, 3, 43, 61], [1, 1, 43, 61]]
    assert set(count(model)) == {"Conv", "Relu", "MaxPool", "Concat", "Add", "Resize", "Sigmoid"}
    for node in model.graph.node:
        if node.op_type == "Resize":
            written = {attribute.name: attribute.s for attribute in node.attribute}
            assert written == {"mode": b"linear", "coordinate_transformation_mode": b"half_pixel"}
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("half", [False, True])
def test_opencv_computes_a_static_graph(tmp_path, steady, half):
    cv2 = pytest.importorskip("cv2")
    export_onnx(steady, tmp_path / "a.onnx", ODD, half=half, static=True)
    x = noise(1, 3, 43, 61)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 3, 43, 61]
    engine = cv2.dnn.readNetFromONNX(str(tmp_path / "a.onnx"))
    engine.setInput(x.numpy())
    (expected,) = session.run(None, {"input": x.numpy()})
    np.testing.assert_allclose(engine.forward(), expected, atol=1e-3)


def test_opencv_computes_a_static_graph_of_several_classes(tmp_path, new_network, tiny_table):
    cv2 = pytest.importorskip("cv2")
    network = new_network(tiny_table, num_classes=3)
    export_onnx(network, tmp_path / "a.onnx", ODD, static=True)
    x = noise(1, 3, 43, 61)
    engine = cv2.dnn.readNetFromONNX(str(tmp_path / "a.onnx"))
    engine.setInput(x.numpy())
    with torch.no_grad():
        expected = network(x)[0].softmax(dim=1)
    np.testing.assert_allclose(engine.forward(), expected.numpy(), atol=1e-3)


def test_a_static_graph_opens_as_a_session_and_gives_its_weights_back(tmp_path, tiny, tiny_table):
    export_onnx(tiny, tmp_path / "a.onnx", ODD, static=True)
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    export_onnx(tiny, tmp_path / "b.onnx", ODD)
    ours, theirs = (new_session(tmp_path / f"{name}.onnx", precision="fp32") for name in "ab")
    np.testing.assert_allclose(ours.saliency(picture), theirs.saliency(picture), atol=1e-3)
    again = load_checkpoint(tmp_path / "a.onnx", tiny_table).network
    x = noise(1, 3, 43, 61)
    torch.testing.assert_close(probabilities(again, x), probabilities(tiny, x), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("static", "opset"), [(False, 13), (True, 12), (True, 22)])
def test_an_opset_that_cannot_be_written_is_refused(folder, least, static, opset):
    with pytest.raises(ValueError, match=f"got {opset}"):
        export_onnx(least, folder / "a.onnx", CARD, static=static, opset=opset)
    assert content(folder) == {"a.onnx": b"old"}


# ---- The card ------------------------------------------------------------------------------------------------


def test_the_card_is_in_the_file_with_digest_and_number_of_parameters(tmp_path, least):
    export_onnx(least, tmp_path / "a.onnx", CARD)
    card = Card.from_json(read_metadata(tmp_path / "a.onnx")[METADATA_KEY])
    assert card == describe(least, CARD)
    assert (card.sha256 != "", card.num_parameters) == (True, sum(p.numel() for p in least.parameters()))


def test_the_card_says_that_the_file_puts_out_probabilities(tmp_path, least):
    export_onnx(least, tmp_path / "a.onnx", replace(CARD, transform=Transform(output="logits")))
    assert Card.from_json(read_metadata(tmp_path / "a.onnx")[METADATA_KEY]).transform.output == "probabilities"


# ---- Safety --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_exporting_leaves_the_network_as_it_was(tmp_path, new_network, least_table, training):
    network = new_network(least_table).train(training)
    before = copy.deepcopy(network.state_dict())
    export_onnx(network, tmp_path / "a.onnx", CARD)
    assert network.training is training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_network_in_training_is_exported_for_inference(tmp_path, new_network, least_table):
    for name, training in (("a", False), ("b", True)):
        export_onnx(new_network(least_table).train(training), tmp_path / f"{name}.onnx", CARD)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_network_that_recomputes_its_stages_is_exported_like_any(tmp_path, least):
    network = copy.deepcopy(least)
    network.checkpointing = True
    assert to_onnx(network.train(), CARD) == to_onnx(least, CARD)


def without(kind: str, monkeypatch) -> None:
    """Make the exporter forget an operation: what it should have written passes its input on."""
    write = u2net.net.export._Translation._node

    def forget(self, written: str, *inputs: str, **attributes: object) -> str:
        return inputs[0] if written == kind else write(self, written, *inputs, **attributes)

    monkeypatch.setattr(u2net.net.export._Translation, "_node", forget)


def with_other(kind: str, monkeypatch, **others: object) -> None:
    """Make the exporter write other attributes, where it writes them at all."""
    write = u2net.net.export._Translation._node

    def change(self, written: str, *inputs: str, **attributes: object) -> str:
        applies = written == kind and attributes.get("kernel_shape") != (1, 1)
        return write(self, written, *inputs, **(attributes | others if applies else attributes))

    monkeypatch.setattr(u2net.net.export._Translation, "_node", change)


MISTAKES = {
    "no ReLU": lambda patch: without("Relu", patch),
    "no residual": lambda patch: without("Add", patch),
    "nearest resizing": lambda patch: with_other("Resize", patch, mode="nearest"),
    "aligned corners": lambda patch: with_other("Resize", patch, coordinate_transformation_mode="align_corners"),
    "no dilation": lambda patch: with_other("Conv", patch, dilations=[1, 1], pads=[1] * 4),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with an earlier export in it."""
    (tmp_path / "a.onnx").write_bytes(b"old")
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_file_that_computes_something_else_is_refused_and_leaves_nothing(folder, least, monkeypatch, mistake):
    mistake(monkeypatch)
    with pytest.raises(InvalidModel):
        export_onnx(least, folder / "a.onnx", CARD)
    assert content(folder) == {"a.onnx": b"old"}


def test_the_difference_from_torch_is_named(tmp_path, least, monkeypatch):
    without("Relu", monkeypatch)
    with pytest.raises(InvalidModel, match=r"ONNX Runtime differs from torch by [\d.e-]+ at \(320, 320\)"):
        export_onnx(least, tmp_path / "a.onnx", CARD)
    assert not content(tmp_path)


def test_side_outputs_are_compared_too(tmp_path, least, monkeypatch):
    write = u2net.net.export._Translation._node
    counter = itertools.count()

    def forget_the_second(self, kind: str, *inputs: str, **attributes: object) -> str:
        skipped = kind == "Sigmoid" and next(counter) == 1
        return write(self, "Identity" if skipped else kind, *inputs, **attributes)

    monkeypatch.setattr(u2net.net.export._Translation, "_node", forget_the_second)
    with pytest.raises(InvalidModel, match="differs from torch"):
        export_onnx(least, tmp_path / "a.onnx", CARD, all_outputs=True)


def test_weights_that_are_not_finite_are_refused(folder, new_network, least_table):
    network = new_network(least_table)
    with torch.no_grad():
        network.fuse.bias.fill_(float("nan"))
    with pytest.raises(InvalidModel):
        export_onnx(network, folder / "a.onnx", CARD)
    assert content(folder) == {"a.onnx": b"old"}


def test_a_full_disk_leaves_the_old_file(folder, least, monkeypatch):
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(least, folder / "a.onnx", CARD)
    assert content(folder) == {"a.onnx": b"old"}


def test_a_missing_folder_is_an_os_error(tmp_path, least):
    with pytest.raises(FileNotFoundError):
        export_onnx(least, tmp_path / "none/a.onnx", CARD)


def test_a_module_that_has_no_onnx_form_is_named(new_network, least_table):
    network = new_network(least_table)
    network.encoder[0].conv_in.relu = torch.nn.GELU()
    with pytest.raises(TypeError, match="no ONNX form is known for GELU"):
        to_onnx(network, CARD)
