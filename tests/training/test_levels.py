"""The packaged weights: one of their channels is 226 in every picture."""

import copy

import pytest
import torch
from PIL import Image
from torch import Tensor

from u2net.models.transform import Transform
from u2net.models.zoo import resolve
from u2net.net import load_checkpoint
from u2net.net.model import VARIANTS, U2Net
from u2net.training.levels import lower_levels


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
def _map(network: U2Net, image: Tensor, *, bf16: bool = False) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return network.saliency(image).float()


def _gradient(network: U2Net, image: Tensor, *, bf16: bool = False) -> Tensor:
    """Of the error against the network's own map, cut to black and white."""
    network = copy.deepcopy(network)
    truth = (_map(network, image) > 0.5).float()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = network(image)[0]
    torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), truth).backward()
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_lowered_levels_leave_the_map_nearly_as_it_is(official, lowered, image):
    difference = (_map(lowered, image) - _map(official, image)).abs()
    assert 0 < difference.mean() < 1e-3


def test_no_channel_between_two_blocks_of_a_decoder_stays_far_above_the_others(official, lowered, image):
    def least(network: U2Net) -> float:
        seen = []
        block = network.get_submodule("decoder.1.decoder.1")
        hook = block.register_forward_hook(lambda _module, _args, maps: seen.append(maps.amin((0, 2, 3)).max()))
        _map(network, image)
        hook.remove()
        return float(seen[0])

    assert least(official) > 200
    assert least(lowered) < 10


def test_lowered_levels_leave_bfloat16_the_map_and_the_gradient(official, lowered, image):
    def error(network: U2Net) -> tuple[float, float]:
        maps = _map(network, image, bf16=True) - _map(network, image)
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
