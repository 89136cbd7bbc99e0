import json

import numpy as np
import pytest
from click.testing import CliRunner

from u2net.cli.models import models
from u2net.errors import InvalidModel
from u2net.inference import profile
from u2net.inference.profile import WAYS, Timing, measure, time_ways
from u2net.inference.runtimes import RUNTIMES
from u2net.models.zoo import resolve


def save_network(stages, folder):
    """A network, batch normalisation folded, on torch's device without data; and its ONNX file."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("torch")
    from u2net.models.card import Card
    from u2net.net import U2Net
    from u2net.net.export import fold_batch_norm, to_onnx

    network, path = U2Net(stages), folder / "network.onnx"
    onnx.save(to_onnx(network, Card("network")), path)
    return fold_batch_norm(network).to("meta"), path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The paper's U²-Net†."""
    pytest.importorskip("torch")
    from u2net.net import U2NETP

    return save_network(U2NETP, tmp_path_factory.mktemp("small"))


def num_operations(network, size):
    """Multiplications and additions of one picture, as torch counts them."""
    from torch.ops import aten
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network.saliency(empty_picture(size))
    (counted,) = counter.get_flop_counts()["Global"].items()
    assert counted[0] is aten.convolution
    return counted[1]


def empty_picture(size):
    import torch

    return torch.empty(1, 3, *reversed(size), device="meta")


def save_small_model(path):
    """A file for 6×4 pixels only: convolution 3×3 with 2 channels, ReLU, pooling, convolution 1×1 without bias."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = {"a": np.ones((2, 3, 3, 3)), "b": np.ones(2), "c": np.ones((1, 2, 1, 1))}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "a", "b"], ["t"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["t"], ["u"]),
            helper.make_node("MaxPool", ["u"], ["v"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Conv", ["v", "c"], ["y"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 2, 3])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


def test_a_small_network_is_counted_as_by_hand(tmp_path):
    save_small_model(tmp_path / "small.onnx")
    cost = measure(tmp_path / "small.onnx", (6, 4))
    assert cost.num_weights == 2 * 3 * 9 + 2 + 2
    assert cost.num_macs == (4 * 6 * 2) * (3 * 9) + (2 * 3) * 2
    assert cost.num_activations == 4 * 6 * 2 + 2 * 3 * 2 + 2 * 3


def test_the_packaged_model_costs_what_is_documented():
    cost = measure(resolve("u2netp"), (320, 320))
    assert cost.num_weights == 1_125_485
    assert cost.num_macs == 19_756_089_600


@pytest.mark.parametrize(("name", "gmacs"), [("u2net", 58.60), ("u2netp", 19.76)])
def test_the_paper_s_networks_cost_what_is_documented(name, gmacs):
    torch = pytest.importorskip("torch")
    from u2net.net.model import VARIANTS, U2Net

    with torch.device("meta"):
        network = U2Net(VARIANTS[name]).eval()
    assert round(num_operations(network, (320, 320)) / 2e9, 2) == gmacs


@pytest.mark.slow  # its file takes a gigabyte to make
def test_the_large_network_is_measured_as_the_small_one(tmp_path):
    pytest.importorskip("torch")
    from u2net.net import U2NET

    network, path = save_network(U2NET, tmp_path)
    cost = measure(path, (320, 320))
    assert round(cost.num_macs / 1e9, 2) == 58.60
    assert cost.num_weights == sum(parameter.numel() for parameter in network.parameters())


def test_weights_are_all_parameters_of_the_folded_network(small):
    network, path = small
    assert measure(path, (64, 48)).num_weights == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("size", [(160, 160), (64, 48)])
def test_multiplications_are_half_of_the_operations_that_torch_counts(small, size):
    network, path = small
    assert num_operations(network, size) == 2 * measure(path, size).num_macs


@pytest.mark.parametrize("size", [(160, 160), (64, 48)])
def test_activations_are_all_maps_that_torch_makes(small, size):
    import torch
    from torch.ops import aten
    from torch.utils._python_dispatch import TorchDispatchMode

    num_values = 0

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            nonlocal num_values
            result = operation(*args, **(kwargs or {}))
            if operation not in (aten.relu_.default, aten.sigmoid.default):  # which the runtime does in place
                maps = result[0] if isinstance(result, tuple) else result  # pooling tells the places too
                num_values += maps.numel()
            return result

    network, path = small
    picture = empty_picture(size)
    with torch.no_grad(), Counting():
        network.saliency(picture)
    # The file also computes the sizes of maps: a few numbers more.
    assert measure(path, size).num_activations == pytest.approx(num_values, rel=1e-4)


def test_a_size_that_the_file_does_not_take_is_refused(tmp_path):
    save_small_model(tmp_path / "small.onnx")
    with pytest.raises(InvalidModel, match=r"small\.onnx does not run at 8×8"):
        measure(tmp_path / "small.onnx", (8, 8))


def test_a_file_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InvalidModel, match=r"noise\.onnx"):
        measure(path, (64, 48))


# ---- Speed ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timed() -> tuple[list[Timing], dict[str, str]]:
    return time_ways("u2netp", threads=1, rounds=1)


def test_ways_are_all_runtimes_at_all_of_their_precisions():
    assert set(WAYS) == {(name, precision) for name, row in RUNTIMES.items() for precision in row.precisions}
    assert WAYS[0] == ("onnxruntime", "fp32")


def test_every_way_is_timed_or_its_lack_explained(timed):
    timings, missing = timed
    ways = {f"{timing.runtime} {timing.precision}" for timing in timings}
    assert {"onnxruntime fp32", "onnxruntime int8"} <= ways
    assert ways | set(missing) == {" ".join(way) for way in WAYS}
    assert not ways & set(missing)
    assert all(timing.ms > 0 for timing in timings)


def test_the_fastest_comes_first_and_ratios_are_to_onnx_runtime_in_float32(timed):
    timings, _ = timed
    assert [timing.ratio for timing in timings] == sorted(timing.ratio for timing in timings)
    (base,) = (timing for timing in timings if (timing.runtime, timing.precision) == ("onnxruntime", "fp32"))
    assert (base.ratio, base.ratio_min, base.ratio_max) == (1, 1, 1)


def test_a_file_that_is_no_model_is_not_timed(tmp_path):
    (tmp_path / "a.onnx").write_text("no model")
    with pytest.raises(InvalidModel):
        time_ways(tmp_path / "a.onnx")


def test_the_command_prints_a_row_for_each_and_json(monkeypatch, timed):
    asked = []
    monkeypatch.setattr(profile, "time_ways", lambda model, **options: asked.append((model, options)) or timed)
    text = CliRunner().invoke(models, ["bench", "--rounds", "1", "--threads", "1"]).stdout
    assert text.splitlines()[0].split() == ["runtime", "precision", "ms", "ratio"]
    assert len(text.splitlines()) == 1 + len(WAYS)
    facts = json.loads(CliRunner().invoke(models, ["bench", "u2netp", "--json"]).stdout)
    assert {(row["runtime"], row["precision"]) for row in facts["timings"]} == {
        (t.runtime, t.precision) for t in timed[0]
    }
    assert facts["missing"] == timed[1]
    assert asked == [("u2netp_distilled", {"threads": 1, "rounds": 1}), ("u2netp", {"threads": None, "rounds": 9})]
