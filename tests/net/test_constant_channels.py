import copy

import numpy as np
import onnx
import pytest
import torch

from u2net.errors import InvalidModel
from u2net.models.card import Card
from u2net.net import export_onnx, load_checkpoint
from u2net.net.constant_channels import find_levels, subtract_levels
from u2net.net.export import to_graph, to_onnx

CARD = Card("a")


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_a_channel_that_is_about_200_everywhere_is_found_and_no_other(steady):
    levels = find_levels(steady)
    assert list(levels) == ["decoder.0.decoder.1"]
    level = levels["decoder.0.decoder.1"]
    assert level[2] == pytest.approx(200, rel=0.01)
    assert level.count_nonzero() == 1


def test_a_network_without_one_is_exported_as_it_is(tiny):
    assert find_levels(tiny) == {}
    assert not {"Max", "Expand"} & {node.op_type for node in to_onnx(tiny, CARD).graph.node}


def test_looking_leaves_the_network_as_it_was(steady):
    network = copy.deepcopy(steady).train()
    find_levels(network)
    assert network.training
    assert not any(block._forward_hooks for block in network.modules())


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 64, 64), (2, 33, 47)])
def test_the_maps_are_those_of_the_network_to_the_border(steady, run_onnx, batch, height, width):
    model = to_onnx(steady, CARD)
    assert "Max" in {node.op_type for node in model.graph.node}
    x = noise(batch, 3, height, width)
    with torch.no_grad():
        expected = [steady.saliency(x)]
    torch.testing.assert_close(run_onnx(model, x), expected, atol=1e-4, rtol=0)


def test_levels_may_be_anything_even_where_relu_cuts(tiny, run_onnx, monkeypatch):
    """Levels of maps that vary and are often 0: what the graph computes stays the same."""
    nodes, weights = to_graph(tiny)
    # Of few bits, so that a level can be subtracted and added again exactly.
    weights = {key: (value * 256).round() / 256 if key.endswith(".bias") else value for key, value in weights.items()}
    monkeypatch.setattr("u2net.net.export.to_graph", lambda *_, **__: (nodes, weights))
    blocks = ["encoder.0.encoder.1", "encoder.1.encoder.0", "decoder.1.encoder.0", "decoder.0.decoder.1"]
    x = noise(1, 3, 41, 36)
    expected = run_onnx(to_onnx(tiny, CARD), x)
    levels = {name: torch.tensor([0.5, 0.0, 0.25, 1.0]) for name in blocks}
    monkeypatch.setattr("u2net.net.export.find_levels", lambda _: levels)
    model = to_onnx(tiny, CARD)
    assert sum(node.op_type == "Max" for node in model.graph.node) == len(blocks)
    torch.testing.assert_close(run_onnx(model, x), expected, atol=1e-5, rtol=0)


def test_the_convolution_behind_no_longer_sees_large_numbers(steady, run_onnx):
    model = to_onnx(steady, CARD)
    floors = [node.output[0] for node in model.graph.node if node.op_type == "Max"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in floors)
    for maps in run_onnx(model, noise(1, 3, 64, 64)):
        assert maps.max() < 20


def test_a_map_that_is_added_to_another_keeps_its_level(tiny):
    nodes, weights = to_graph(tiny)
    again, same = subtract_levels(nodes, weights, {"encoder.0.conv_in": torch.full((8,), 0.5)})
    assert (again, list(same)) == (nodes, list(weights))


def test_a_level_that_could_not_be_added_again_exactly_stays(tiny):
    nodes, weights = to_graph(tiny)
    block = "encoder.0.encoder.1"
    weights = weights | {f"{block}.conv.bias": torch.full((4,), 0.1)}
    assert torch.tensor(0.1) - 1e6 + 1e6 != torch.tensor(0.1)
    again, same = subtract_levels(nodes, weights, {block: torch.full((4,), 1e6)})
    assert (again, list(same)) == (nodes, list(weights))
    again, _ = subtract_levels(
        nodes, weights | {f"{block}.conv.bias": torch.full((4,), 0.5)}, {block: torch.full((4,), 4.0)}
    )
    assert again != nodes


def test_weights_are_read_back_to_the_last_bit(tmp_path, steady):
    export_onnx(steady, tmp_path / "a.onnx", CARD)
    network, card = load_checkpoint(tmp_path / "a.onnx", steady.stages)
    export_onnx(network, tmp_path / "b.onnx", card)
    first, second = (weights_of(onnx.load(tmp_path / name)) for name in ("a.onnx", "b.onnx"))
    assert all(np.array_equal(value, second[key]) for key, value in first.items())
    _, plain = to_graph(steady)
    _, read = to_graph(network)
    assert all(torch.equal(value, read[key]) for key, value in plain.items())


@pytest.mark.parametrize("ending", [".floor", ".level"])
def test_levels_that_do_not_belong_together_are_refused(tmp_path, steady, ending):
    model = to_onnx(steady, CARD)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(ending))
    values = onnx.numpy_helper.to_array(tensor) * 1.5
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(InvalidModel, match="levels"):
        load_checkpoint(tmp_path / "a.onnx")


def test_the_packaged_network_carries_no_level_above_100(authors):
    """The authors' second decoder stage has a channel of 226 to 228."""
    floors = [value for key, value in weights_of(to_onnx(*authors)).items() if key.endswith(".floor")]
    assert min(floor.min() for floor in floors) == pytest.approx(-226, abs=2)
