import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.conftest import TINY
from u2net.net.model import U2Net
from u2net.training import TrainConfig
from u2net.training.optimizer import Average, freeze, learning_rate, new_optimizer, set_training


def _network(seed: int = 0) -> U2Net:
    torch.manual_seed(seed)
    return U2Net(TINY)


def _descend(network: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int) -> None:
    """Steps towards a map of noise, the same ones for every network."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(num_steps):
        x, y = (torch.rand(2, c, 32, 32, generator=generator) for c in (3, 1))
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(network(x)[0], y).backward()
        optimizer.step()


# ---- Learning rate -------------------------------------------------------------------------------------------


def _rates(num_steps: int, **fields) -> list[float]:
    return [learning_rate(TrainConfig(lr=1.0, **fields), step, num_steps) for step in range(num_steps)]


def test_a_constant_rate_is_constant():
    assert _rates(4) == [1.0] * 4


def test_warm_up_rises_in_equal_steps_and_never_from_zero():
    assert _rates(6, warmup_steps=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_a_cosine_goes_from_the_rate_to_nearly_nothing():
    # (1 + cos(k π / 4)) / 2
    assert _rates(4, schedule="cosine") == pytest.approx([1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4])


def test_a_cosine_begins_where_warm_up_ends():
    assert _rates(4, schedule="cosine", warmup_steps=2) == pytest.approx([1 / 3, 2 / 3, 1, 0.5])


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_run_shorter_than_its_warm_up_ends_in_it(schedule):
    assert _rates(2, schedule=schedule, warmup_steps=9) == pytest.approx([0.1, 0.2])


def test_the_rate_is_a_part_of_the_configured_one():
    config = TrainConfig(lr=0.02, schedule="cosine", warmup_steps=1)
    assert [learning_rate(config, step, 3) for step in range(3)] == pytest.approx([0.01, 0.02, 0.01])


# ---- Optimiser -----------------------------------------------------------------------------------------------


def test_adam_on_channels_last_weights_does_what_torchs_plainest_does():
    ours = _network().to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours).to(memory_format=torch.contiguous_format)
    plainest = torch.optim.Adam(theirs.parameters(), lr=1e-3, foreach=False, fused=False)
    optimizer = new_optimizer(ours, TrainConfig(lr=1e-3))
    for _ in range(6):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = torch.randn(other.shape)
            mine.grad = torch.empty_like(mine).copy_(other.grad)
        optimizer.step()
        plainest.step()
    for (key, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6, msg=key)


def test_decay_acts_on_convolution_weights_alone():
    network = _network()
    optimizer = new_optimizer(network, TrainConfig(optimizer="adamw", lr=0.1, weight_decay=0.5))
    before = copy.deepcopy(network.state_dict())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        factor = 0.95 if parameter.ndim == 4 else 1.0  # 1 − 0.1 × 0.5
        torch.testing.assert_close(parameter.detach(), factor * before[name], msg=name)


def test_every_weight_is_given_to_the_optimiser_once():
    network = _network()
    groups = new_optimizer(network, TrainConfig(weight_decay=0.1)).param_groups
    given = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(given) == sorted(map(id, network.parameters()))


# ---- Freezing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["encoder.0", "sides", "fuse", "encoder", "decoder.1.conv_in.norm"])
def test_a_frozen_part_stays_as_it_is_and_all_else_moves(part):
    network = _network()
    freeze(network, (part,))
    set_training(network, TrainConfig(freeze=(part,)))
    before = copy.deepcopy(network.state_dict())
    _descend(network, new_optimizer(network, TrainConfig(lr=0.01, weight_decay=0.1)), 3)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith(f"{part}."), key


def test_frozen_normalisation_keeps_its_statistics_and_trains_its_weights():
    network = _network()
    set_training(network, TrainConfig(freeze_norm=True))
    before = copy.deepcopy(network.state_dict())
    _descend(network, new_optimizer(network, TrainConfig()), 3)
    for key, value in network.state_dict().items():
        is_statistic = key.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked")
        assert torch.equal(value, before[key]) == is_statistic, key


def test_frozen_normalisation_normalises_by_its_statistics():
    network = _network()
    x = torch.rand(2, 3, 32, 32)
    set_training(network, TrainConfig(freeze_norm=True))
    seen = network(x)[0]
    assert torch.equal(seen, network.eval()(x)[0])


@pytest.mark.parametrize("part", ["encoder.9", "", "stage1", "encoder.0.conv_in.norm.weight"])
def test_an_unknown_part_is_told_with_those_that_there_are(part):
    with pytest.raises(ValueError, match=f"no part '{part}'") as caught:
        freeze(_network(), ("sides", part))
    told = str(caught.value)
    assert "\n" not in told
    for name in (*(f"encoder.{i}" for i in range(6)), *(f"decoder.{i}" for i in range(5)), "sides", "fuse"):
        assert name in told


def test_something_has_to_be_left_to_train():
    with pytest.raises(ValueError, match="freeze leaves nothing to train"):
        freeze(_network(), ("encoder", "decoder", "sides", "fuse"))


# ---- Average -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9995])
def test_the_average_is_that_of_a_slow_loop(decay):
    network = _network()
    average = Average(network, decay)
    expected = {key: value.clone().double() for key, value in network.state_dict().items()}
    for step in range(12):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(1 if value.dtype == torch.long else torch.rand_like(value))
        average.update(step)
        weight = min(decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            expected[key] = weight * expected[key] + (1 - weight) * value.double()
    for key, value in average.network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            assert value == 12, key
        else:
            torch.testing.assert_close(value.double(), expected[key], rtol=1e-6, atol=1e-6, msg=key)


def test_without_decay_the_average_is_the_network_to_the_last_bit():
    network = _network().to(memory_format=torch.channels_last)
    average = Average(network, 0.0)
    optimizer = new_optimizer(network, TrainConfig())
    for step in range(3):
        _descend(network, optimizer, 1)
        average.update(step)
    assert all(torch.equal(value, average.network.state_dict()[key]) for key, value in network.state_dict().items())


def test_the_average_follows_weights_that_were_loaded():
    network, other = _network(), _network(seed=1)
    average = Average(network, 0.0)
    network.load_state_dict(other.state_dict())
    average.update(0)
    assert all(torch.equal(value, average.network.state_dict()[key]) for key, value in other.state_dict().items())


def test_the_average_takes_no_gradient_and_is_in_evaluation_mode():
    average = Average(_network().train(), 0.9).network
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not any(module.training for module in average.modules())
