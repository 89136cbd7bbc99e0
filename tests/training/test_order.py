from collections import Counter
from itertools import pairwise, permutations

import pytest

from u2net.training.order import Key, Order, generator


def _epoch(order: Order, epoch: int) -> list[Key]:
    return [order[position] for position in range(epoch * len(order), (epoch + 1) * len(order))]


def test_an_epoch_has_each_example_once():
    order = Order([1.0] * 10, seed=3)
    for epoch in range(3):
        assert sorted(_epoch(order, epoch)) == [Key(epoch, example, 0) for example in range(10)]


def test_each_epoch_has_an_order_of_its_own():
    order = Order([1.0] * 50, seed=0)
    orders = [[key.example for key in _epoch(order, epoch)] for epoch in range(4)]
    assert all(one != other for one, other in pairwise(orders))


def test_each_seed_has_an_order_of_its_own():
    assert _epoch(Order([1.0] * 50, seed=0), 0) != _epoch(Order([1.0] * 50, seed=1), 0)


def test_every_permutation_is_as_likely():
    order = Order([1.0] * 4, seed=0)
    seen = Counter(tuple(key.example for key in _epoch(order, epoch)) for epoch in range(2400))
    expected = 2400 / 24
    chi_squared = sum((seen[order] - expected) ** 2 / expected for order in permutations(range(4)))
    assert chi_squared < 49.7  # of 23 degrees of freedom: exceeded once in a thousand seeds


def test_a_position_holds_the_same_wherever_one_comes_from():
    walked = Order([1.0, 2.5, 2.5] * 5, seed=7)
    expected = [walked[position] for position in range(200)]
    asked = Order([1.0, 2.5, 2.5] * 5, seed=7)
    assert [asked[position] for position in reversed(range(200))] == expected[::-1]


def test_whole_weights_are_counts_and_copies_are_told_apart():
    order = Order([1.0, 3.0], seed=0)
    assert len(order) == 4
    assert sorted(_epoch(order, 5)) == [Key(5, 0, 0), Key(5, 1, 0), Key(5, 1, 1), Key(5, 1, 2)]


def test_fractions_are_drawn_without_replacement_and_differently_each_epoch():
    order = Order([1.0] * 4 + [0.25] * 40 + [1.5] * 6, seed=0)
    assert len(order) == 4 + 10 + 6 + 3
    drawn = []
    for epoch in range(2):
        counts = Counter(key.example for key in _epoch(order, epoch))
        assert [counts[example] for example in range(4)] == [1] * 4
        quarter = [example for example in range(4, 44) if counts[example]]
        assert (len(quarter), max(counts[example] for example in quarter)) == (10, 1)
        assert sorted(counts[example] for example in range(44, 50)) == [1, 1, 1, 2, 2, 2]
        drawn.append(quarter)
    assert drawn[0] != drawn[1]


def test_no_example_is_weighted_away():
    assert [key.example for key in _epoch(Order([0.1], seed=0), 0)] == [0]


@pytest.mark.parametrize("weights", [[], [0.0], [1.0, -1.0]])
def test_an_order_needs_examples_of_some_weight(weights):
    with pytest.raises(ValueError, match="weight"):
        Order(weights, seed=0)


def test_each_appearance_varies_by_itself_and_always_equally():
    keys = [Key(epoch, example, copy) for epoch in range(4) for example in range(4) for copy in range(4)]
    draws = [tuple(generator(seed, key).random(2)) for seed in (0, 1, 2**32, 2**63 - 1) for key in keys]
    assert len(set(draws)) == len(draws)
    assert tuple(generator(0, keys[0]).random(2)) == draws[0]
