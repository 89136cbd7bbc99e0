import copy

import pytest
import torch
from PIL import Image
from torch import Tensor

from u2net.models.transform import Transform
from u2net.models.zoo import resolve
from u2net.net import load_checkpoint
from u2net.net.model import VARIANTS, U2Net
from u2net.training import TrainConfig
from u2net.training.loop import train
from u2net.training.norms import has_folded_norms, leave_out_norms, lower_levels, reopen_norms
from u2net.training.objective import new_network
from u2net.training.snapshot import load_newest

# ---- Folded norms ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    return torch.nn.functional.interpolate(torch.randn(2, 3, 8, 8), size=(96, 96), mode="bilinear")


@torch.no_grad()
def _map(network: U2Net, batch: Tensor, *, training: bool) -> Tensor:
    network.train(training)
    return network(batch)[0].sigmoid()


@pytest.mark.usefixtures("read_once")
def test_the_packaged_weights_come_with_folded_norms_and_a_new_network_does_not():
    assert has_folded_norms(new_network(TrainConfig(init="u2netp"))[0])
    assert not has_folded_norms(U2Net(VARIANTS["u2netp"]))


@pytest.mark.usefixtures("read_once")
def test_reopened_norms_leave_the_map_as_it_is_also_in_training(batch):
    network, _ = new_network(TrainConfig(init="u2netp"))
    expected = _map(network, batch, training=False)
    assert (_map(network, batch, training=True) - expected).abs().mean() > 0.05  # what they are reopened for
    network, _ = new_network(TrainConfig(init="u2netp"))
    reopen_norms(network, [batch[:1], batch[1:]])
    for training in (False, True):
        torch.testing.assert_close(_map(network, batch, training=training), expected, atol=1e-4, rtol=0)


@pytest.mark.usefixtures("read_once")
def test_reopened_norms_have_the_statistics_of_what_they_see(batch):
    network, _ = new_network(TrainConfig(init="u2netp"))
    reopen_norms(network, [batch])
    norm = network.get_submodule("encoder.0.conv_in.norm")
    seen = []
    hook = norm.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    _map(network, batch, training=False)
    hook.remove()
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen[0].var((0, 2, 3), correction=0), atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("read_once")
def test_norms_that_are_left_out_leave_map_and_keys_as_they_are_and_learn_nothing(batch):
    network, _ = new_network(TrainConfig(init="u2netp"))
    expected, keys = _map(network, batch, training=False), list(network.state_dict())
    leave_out_norms(network)
    for training in (False, True):
        torch.testing.assert_close(_map(network, batch, training=training), expected, atol=1e-5, rtol=0)
    assert list(network.state_dict()) == keys
    assert has_folded_norms(network)
    network(batch)[0].sum().backward()
    assert all((parameter.grad is None) == (".norm." in name) for name, parameter in network.named_parameters())


@pytest.mark.usefixtures("lean")
def test_a_run_from_folded_norms_reopens_them_unless_they_are_frozen(configured, tmp_path, folded):
    for freeze_norm, expected in ((False, False), (True, True)):
        run = tmp_path / str(freeze_norm)
        train(configured(init=str(folded), lr=0.0, freeze_norm=freeze_norm, max_steps=1), run)
        tensors = load_newest(run / "checkpoints", pytest.fail).tensors
        means = [value for key, value in tensors.items() if key.startswith("network") and key.endswith("running_mean")]
        assert all((mean == 0).all() for mean in means) is expected


# ---- Channels with a large constant ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official() -> U2Net:
    return load_checkpoint(resolve("u2netp")).network


@pytest.fixture(scope="module")
def lowered(official) -> U2Net:
    network = copy.deepcopy(official)
    lower_levels(network)
    return network


@pytest.fixture(scope="module")
def image(photograph) -> Tensor:
    with Image.open(photograph) as image:
        return torch.from_numpy(Transform(antialias=True).preprocess(image.convert("RGB")))[None]


@torch.no_grad()
def _probability(network: U2Net, image: Tensor, *, bf16: bool = False) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return network.saliency(image).float()


def _gradient(network: U2Net, image: Tensor, *, bf16: bool = False) -> Tensor:
    """Of the error against the network's own map, cut to black and white."""
    network = copy.deepcopy(network)
    truth = (_probability(network, image) > 0.5).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = network(image)[0]
    torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), truth).backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_lowered_levels_leave_the_map_nearly_as_it_is(official, lowered, image):
    difference = (_probability(lowered, image) - _probability(official, image)).abs()
    assert 0 < difference.mean() < 1e-3


def test_no_channel_between_two_blocks_of_a_decoder_stays_far_above_the_others(official, lowered, image):
    def least(network: U2Net) -> float:
        seen = []
        block = network.get_submodule("decoder.1.decoder.1")
        hook = block.register_forward_hook(lambda _module, _args, maps: seen.append(maps.amin((0, 2, 3)).max()))
        _probability(network, image)
        hook.remove()
        return float(seen[0])

    assert least(official) > 200
    assert least(lowered) < 10


@pytest.mark.slow
def test_lowered_levels_leave_bfloat16_the_map_and_the_gradient(official, lowered, image):
    def error(network: U2Net) -> tuple[float, float]:
        maps = _probability(network, image, bf16=True) - _probability(network, image)
        exact = _gradient(network, image)
        return float(maps.abs().mean()), float((_gradient(network, image, bf16=True) - exact).norm() / exact.norm())

    (maps_before, gradient_before), (maps_after, gradient_after) = error(official), error(lowered)
    assert maps_after < maps_before / 3
    assert gradient_after < 0.3 < gradient_before


def test_a_network_without_such_channels_stays_as_it_is():
    torch.manual_seed(0)
    network = U2Net(VARIANTS["u2netp"])
    before = copy.deepcopy(network.state_dict())
    lower_levels(network)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
