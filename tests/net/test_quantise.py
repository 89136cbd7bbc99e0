import copy

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from u2net.errors import InvalidModel
from u2net.inference.runtimes import openvino_core
from u2net.models.card import PAIRS_KEY, PRECISION_KEY, Card
from u2net.models.onnx_file import read_metadata
from u2net.models.transform import Transform
from u2net.net import export_onnx, load_checkpoint
from u2net.net.export import to_onnx
from u2net.net.quantise import _weight_scales, export_int8, quantise

SIZE = (48, 40)  # width, height
CARD = Card("a", Transform(size=SIZE))


def pictures(num: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal((1, 3, SIZE[1], SIZE[0]), np.float32) for _ in range(num)]


@pytest.fixture(scope="module")
def model(tiny) -> onnx.ModelProto:
    return to_onnx(tiny, CARD)


@pytest.fixture(scope="module")
def quantised(model):
    return quantise(model, pictures(4))


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def evaluate(model: onnx.ModelProto, picture: np.ndarray, *names: str) -> list[np.ndarray]:
    """The named tensors, or the outputs, by ONNX's own evaluator."""
    literal = copy.deepcopy(model)
    literal.opset_import[0].version = 19  # the evaluator knows these operations from then on
    literal.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return ReferenceEvaluator(literal).run(list(names) or None, {"input": picture})


def integers_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: tensor for name, tensor in tensors.items() if name.endswith(".integer")}


def test_the_maps_stay_near_those_of_float32(model, quantised, run_onnx):
    import torch

    for picture in pictures(3, seed=1):
        (expected,), (found,) = (run_onnx(m, torch.from_numpy(picture)) for m in (model, quantised.model))
        assert (found - expected).abs().mean() < 0.01


def test_onnx_own_evaluator_agrees_with_the_runtime(quantised, run_onnx):
    """The pairs of quantisation taken literally, with no integer arithmetic in between, on every processor."""
    import torch

    (picture,) = pictures(1, seed=2)
    (literal,) = evaluate(quantised.model, picture)
    (found,) = run_onnx(quantised.model, torch.from_numpy(picture))
    assert np.abs(found.numpy() - literal).max() < 0.02


def test_no_sum_of_two_products_passes_16_bits(quantised):
    """Processors without VNNI would cut it; neighbouring channels of a map are multiplied and added in pairs."""
    (picture,) = pictures(1)
    integers = integers_of(quantised.model)
    largest = []
    for node in quantised.model.graph.node:
        if node.op_type == "Conv" and node.input[0].endswith(".real"):
            weight = integers[node.input[1].replace(".real", ".integer")].astype(int)
            (values,) = evaluate(quantised.model, picture, node.input[0].replace(".real", ".integer"))
            flat = values[0].reshape(len(values[0]), -1).astype(int)
            for channel in range(0, len(flat) - 1, 2):
                first, second = (weight[:, c].ravel()[:, None] * flat[c] for c in (channel, channel + 1))
                largest.append(np.abs(first + second).max())
    assert 2**15 / 2 < max(largest) < 2**15


def test_every_convolution_but_the_fusion_computes_with_integers(quantised):
    assert quantised.num_float == 0
    weights = [name for name, value in integers_of(quantised.model).items() if value.dtype == np.int8]
    assert len(weights) == kinds(quantised.model).count("Conv") - 1


def test_each_filter_uses_all_the_bits_that_its_pairs_leave():
    weight = np.array([[1, 0.5], [1, -1], [-0.2, -0.1]], np.float32).reshape(3, 2, 1, 1)
    full, empty = np.array([255, 255], np.float32), np.array([100, 0], np.float32)
    scale = _weight_scales(weight, full, 1, np.uint8(0))
    np.testing.assert_allclose(scale, [255 * 1.5 / 32511, 1 / 127, 255 * 0.3 / 32511])
    np.testing.assert_allclose(_weight_scales(weight, empty, 1, np.uint8(0)), [1 / 127, 1 / 127, 0.2 / 127])


def test_joined_and_resized_maps_share_one_scale(quantised):
    graph = quantised.model.graph
    scales = {
        t.name: float(numpy_helper.to_array(t)) for t in graph.initializer if t.name.endswith(".scale") and not t.dims
    }
    for node in graph.node:
        if node.op_type in ("Concat", "MaxPool", "Resize") and f"{node.output[0]}.scale" in scales:
            before = [name.removesuffix(".real") for name in node.input if name.endswith(".real")]
            assert {scales[f"{name}.scale"] for name in before} == {scales[f"{node.output[0]}.scale"]}


def test_zero_is_a_whole_number_of_every_map(quantised):
    """So that the border, which is 0, is too."""
    zeros = [t for t in quantised.model.graph.initializer if t.name.endswith(".zero")]
    assert zeros
    assert {numpy_helper.to_array(zero).dtype.kind for zero in zeros} <= {"u", "i"}


def test_the_file_passes_onnx_full_check_and_says_what_it_is(tmp_path, tiny):
    data = [np.random.default_rng(i).integers(0, 256, (30, 40, 3), np.uint8) for i in range(3)]
    difference, num_float = export_int8(tiny, tmp_path / "a-int8.onnx", CARD, data)
    assert (difference < 0.01, num_float) == (True, 0)
    onnx.checker.check_model(onnx.load(tmp_path / "a-int8.onnx"), full_check=True)
    export_onnx(tiny, tmp_path / "a.onnx", CARD)
    ours, theirs = read_metadata(tmp_path / "a-int8.onnx"), read_metadata(tmp_path / "a.onnx")
    assert (ours.pop(PRECISION_KEY), ours.pop(PAIRS_KEY)) == ("int8", "16 bits")
    assert ours == theirs


def test_the_same_pictures_give_the_same_file(model, quantised):
    again = quantise(model, pictures(4)).model
    assert again.SerializeToString(deterministic=True) == quantised.model.SerializeToString(deterministic=True)


def test_openvino_computes_it_with_integers_too(quantised, model, run_onnx):
    import torch

    pytest.importorskip("openvino")
    (picture,) = pictures(1, seed=3)
    compiled = openvino_core().compile_model(
        openvino_core().read_model(quantised.model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    (expected,) = run_onnx(model, torch.from_numpy(picture))
    assert np.abs(compiled(picture)[0] - expected.numpy()).mean() < 0.01
    facts = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    types = [f["runtimePrecision"].astype(str) for f in facts if f["layerType"].astype(str) == "Convolution"]
    assert types.count("u8") + types.count("i8") > len(types) / 2


def test_convolutions_that_do_harm_stay_in_float(model, quantised, monkeypatch):
    monkeypatch.setattr("u2net.net.quantise.TOLERANCE", 0.9 * quantised.difference)
    strict = quantise(model, pictures(4))
    assert strict.num_float > 0
    assert strict.difference < quantised.difference


def test_a_network_that_integers_harm_is_refused(least, monkeypatch):
    monkeypatch.setattr("u2net.net.quantise.TOLERANCE", 0.0)
    with pytest.raises(InvalidModel, match="differs from float32"):
        quantise(to_onnx(least, CARD), pictures(1))


def test_without_pictures_there_is_nothing_to_go_by(model, tmp_path, tiny):
    with pytest.raises(InvalidModel, match="no pictures"):
        export_int8(tiny, tmp_path / "a.onnx", CARD, [])
    assert not list(tmp_path.iterdir())


def test_integers_are_not_read_back_as_weights(tmp_path, quantised, tiny_table):
    onnx.save(quantised.model, tmp_path / "a.onnx")
    with pytest.raises(InvalidModel):
        load_checkpoint(tmp_path / "a.onnx", tiny_table)
