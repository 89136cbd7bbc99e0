"""Weights in 16 bits, as runtimes read them, and as they are read back."""

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from u2net.errors import InvalidModel
from u2net.inference.open import new_session
from u2net.inference.runtimes import openvino_core
from u2net.models.card import Card
from u2net.models.zoo import find
from u2net.net import export_onnx, load_checkpoint
from u2net.net.export import fold_batch_norm, to_onnx

CARD = Card("a")


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def rounded_map(network, x: torch.Tensor) -> torch.Tensor:
    """What a network makes of pixels after numpy has rounded its folded convolutions' weights."""
    network = fold_batch_norm(network)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.copy_(torch.from_numpy(module.weight.numpy().astype(np.float16).astype(np.float32)))
    return network.saliency(x)


@pytest.fixture(scope="module")
def halved(tmp_path_factory, authors):
    """The authors' network as a file of 16 bits."""
    path = tmp_path_factory.mktemp("halved") / "a.onnx"
    export_onnx(authors.network, path, authors.card, half=True)
    return path


def test_the_file_of_the_authors_network_is_half_as_long(halved):
    assert halved.stat().st_size < 0.51 * find("u2netp").stat().st_size


def test_its_masks_differ_by_little_from_those_of_32_bits(halved, photograph, u2netp):
    mask = new_session(halved, runtime="onnxruntime").mask(photograph).astype(int)
    assert 0 < np.abs(mask - u2netp.mask(photograph)).mean() < 0.1


@pytest.mark.parametrize("which", ["tiny", "steady"])
def test_runtimes_compute_with_rounded_weights(which, request, run_onnx):
    network = request.getfixturevalue(which)
    x = noise(1, 3, 33, 47)
    (found,) = run_onnx(to_onnx(network, CARD, half=True), x)
    torch.testing.assert_close(found, rounded_map(network, x), atol=1e-4, rtol=0)


def test_onnx_own_evaluator_agrees(least):
    x = noise(1, 3, 16, 12)
    (found,) = ReferenceEvaluator(to_onnx(least, CARD, half=True)).run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), rounded_map(least, x), atol=1e-5, rtol=0)


def test_openvino_agrees(tmp_path, tiny):
    pytest.importorskip("openvino")
    x = noise(1, 3, 48, 64)
    export_onnx(tiny, tmp_path / "a.onnx", CARD, half=True)
    found = openvino_core().compile_model(tmp_path / "a.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
    torch.testing.assert_close(torch.from_numpy(found), rounded_map(tiny, x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("which", ["tiny", "steady"])
def test_rounded_weights_are_read_back_to_the_last_bit(tmp_path, which, request):
    network = request.getfixturevalue(which)
    export_onnx(network, tmp_path / "a.onnx", CARD, half=True)
    read, card = load_checkpoint(tmp_path / "a.onnx", network.stages)
    export_onnx(read, tmp_path / "b.onnx", card, half=True)
    first, second = (onnx.load(tmp_path / name).graph for name in ("a.onnx", "b.onnx"))
    assert first == second
    kinds = {tensor.name.rsplit(".", 1)[-1]: tensor.data_type for tensor in first.initializer}
    assert kinds["half"] == onnx.TensorProto.FLOAT16
    assert "weight" not in kinds


def test_numbers_beyond_16_bits_are_refused_and_nothing_is_written(tmp_path, tiny):
    network = copy.deepcopy(tiny)
    with torch.no_grad():
        network.fuse.weight[0, 0] = 1e6
    with pytest.raises(InvalidModel, match=r"65,504"):
        export_onnx(network, tmp_path / "a.onnx", CARD, half=True)
    assert list(tmp_path.iterdir()) == []
