import copy
from collections.abc import Callable
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from one_thread import one_thread  # noqa: F401  (a fixture)
from torch import nn

from u2net.models.card import Card
from u2net.models.zoo import find
from u2net.net import Checkpoint, Stage, U2Net, export_onnx, load_checkpoint

NewNetwork = Callable[..., U2Net]


def _new_network(stages, num_classes: int = 1, seed: int = 0) -> U2Net:
    """Seeded, with biases and running statistics that are neither 0 nor 1, and maps that vary."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = U2Net(stages, num_classes)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.bias, std=0.1)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.5, 2)
                module.num_batches_tracked.fill_(7)
        return network.eval()


@pytest.fixture(scope="session")
def new_network() -> NewNetwork:
    """Builds a network in evaluation mode from a table: `new_network(stages, num_classes=1, seed=0)`."""
    return _new_network


@pytest.fixture(scope="session")
def tiny_table() -> tuple[Stage, ...]:
    """Five stages, one of them dilated: the smallest table in which everything occurs."""
    rows = [(4, False, 3, 4, 8), (3, False, 8, 4, 8), (3, True, 8, 4, 8), (3, False, 16, 4, 8), (4, False, 16, 4, 8)]
    return tuple(Stage(*row) for row in rows)


@pytest.fixture(scope="session")
def least_table() -> tuple[Stage, ...]:
    """Three stages: the quickest to build."""
    return (Stage(2, False, 3, 2, 4), Stage(2, True, 4, 2, 4), Stage(2, False, 8, 2, 4))


@pytest.fixture(scope="session")
def thin_table() -> tuple[Stage, ...]:
    """The paper's eleven stages, a few channels wide."""
    heights = (7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7)
    c_ins = (3, *[4] * 5, *[8] * 5)
    return tuple(Stage(height, i in (4, 5, 6), c_ins[i], 2, 4) for i, height in enumerate(heights))


@pytest.fixture(scope="session")
def least(new_network, least_table) -> U2Net:
    """Shared: not to be changed."""
    return new_network(least_table)


@pytest.fixture(scope="session")
def tiny(new_network, tiny_table) -> U2Net:
    """Shared: not to be changed."""
    return new_network(tiny_table)


@pytest.fixture(scope="session")
def steady(tiny) -> U2Net:
    """Tiny, with a channel of about 200 in a decoder's map, which two convolutions see. Shared: not to be changed."""
    network = copy.deepcopy(tiny)
    norm = network.decoder[0].decoder[1].norm
    with torch.no_grad():
        norm.weight[2], norm.bias[2] = 0.01, 200
    return network


@pytest.fixture(scope="session")
def thin(new_network, thin_table) -> U2Net:
    """Shared: not to be changed."""
    return new_network(thin_table)


@pytest.fixture(scope="session")
def thin_file(tmp_path_factory, thin) -> Path:
    """The thin network with all seven outputs as ONNX. Shared: not to be changed."""
    path = tmp_path_factory.mktemp("thin") / "thin.onnx"
    export_onnx(thin, path, Card(name="thin", licence="MIT", source="made up for a test"), all_outputs=True)
    return path


@pytest.fixture(scope="session")
def authors() -> Checkpoint:
    """The authors' U²-Net†, read from the packaged file. Shared: not to be changed."""
    return load_checkpoint(find("u2netp"))


@pytest.fixture(scope="session")
def official(data) -> Path:
    """The authors' U²-Net† as rembg publishes it."""
    return data / "weights/u2netp.onnx"


@pytest.fixture(scope="session")
def run_onnx() -> Callable:
    """Runs a file or a model with ONNX Runtime: `run_onnx(path_or_model, batch)` gives its output tensors."""

    def run(model: Path | onnx.ModelProto, batch: torch.Tensor) -> list[torch.Tensor]:
        source = model if isinstance(model, Path) else model.SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return [torch.from_numpy(array) for array in session.run(None, {session.get_inputs()[0].name: batch.numpy()})]

    return run
