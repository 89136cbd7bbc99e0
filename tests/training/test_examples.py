import shutil
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest
from PIL import Image

from training.pairs import write_pair, write_pairs
from u2net.errors import InvalidDataset
from u2net.training.config import TrainConfig
from u2net.training.examples import Key, Order, generator, open_examples


def _config(*data, **fields) -> TrainConfig:
    return TrainConfig(data=tuple(map(str, data)), **{"holdout": 0.0, **fields})


def _names(entries) -> list[str]:
    return [entry.name for entry in entries]


def test_examples_of_all_data_sets_are_named_and_weighted(tmp_path):
    one, two = write_pairs(tmp_path / "one", 2, name="a{}"), write_pairs(tmp_path / "two", 1, name="b{}")
    examples, validation = open_examples(_config(one, two, weights=(1.0, 2.5)))
    assert _names(examples.entries) == ["one/a0", "one/a1", "two/b0"]
    assert examples.weights == (1.0, 1.0, 2.5)
    assert validation == []


def test_data_sets_of_one_name_are_told_apart(tmp_path):
    roots = [write_pairs(tmp_path / parent / "train", 1, name="a") for parent in ("x", "y", "z")]
    examples, _ = open_examples(_config(*roots))
    assert _names(examples.entries) == ["train/a", "train-2/a", "train-3/a"]


def test_pictures_and_masks_of_two_folders_stand_beside_data(tmp_path):
    one, two = write_pairs(tmp_path / "one", 1), write_pairs(tmp_path / "two", 2)
    examples, _ = open_examples(_config(one, images=str(two / "images"), masks=str(two / "masks")))
    assert len(examples) == 3


def test_a_pair_is_loaded_as_it_lies_in_its_files(tmp_path):
    examples, _ = open_examples(_config(write_pairs(tmp_path / "set", 1)))
    image, mask = examples.load(0)
    np.testing.assert_array_equal(image, Image.open(tmp_path / "set/images/picture-00.png"))
    np.testing.assert_array_equal(mask, Image.open(tmp_path / "set/masks/picture-00.png"))


def test_nothing_is_held_out_of_what_is_mixed_in(tmp_path):
    mine, mixed_in = write_pairs(tmp_path / "mine", 4), write_pairs(tmp_path / "mixed-in", 8)
    examples, (validation,) = open_examples(_config(mine, mixed_in, weights=(1.0, 0.5), holdout=0.5))
    assert len(validation) == 2
    assert len(examples) == 2 + 8


# ---- Held out ------------------------------------------------------------------------------------------------


def test_held_out_pairs_are_validated_on_and_not_trained_on(tmp_path):
    roots = [write_pairs(tmp_path / name, 20) for name in ("one", "two")]
    examples, [validation] = open_examples(_config(*roots, holdout=0.2))
    assert (len(examples), len(validation)) == (32, 8)
    assert not set(_names(examples.entries)) & set(_names(validation))


def test_held_out_are_the_names_of_the_lowest_sha256(tmp_path):
    # sha256sum: c 2e7d…, b 3e23…, a ca97…, d 18ac…, e 3f79…
    for name in "abcde":
        (tmp_path / "set/images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "set/masks").mkdir(parents=True, exist_ok=True)
        write_pair(tmp_path / "set", name)
    _, [validation] = open_examples(_config(tmp_path / "set", holdout=0.4))
    assert _names(validation) == ["set/c", "set/d"]


def test_what_is_held_out_depends_on_names_alone(tmp_path):
    one = write_pairs(tmp_path / "one", 30)
    shutil.copytree(one, tmp_path / "another")
    held_out = [
        {name.partition("/")[2] for name in _names(open_examples(config)[1][0])}
        for config in (_config(one, holdout=0.3), _config(tmp_path / "another", holdout=0.3, seed=5))
    ]
    assert held_out[0] == held_out[1]


def test_one_pair_is_left_to_train_on(tmp_path):
    examples, [validation] = open_examples(_config(write_pairs(tmp_path / "set", 2), holdout=0.9))
    assert (len(examples), len(validation)) == (1, 1)


def test_nothing_is_held_out_where_there_are_sets_to_validate_on(tmp_path):
    one, two = write_pairs(tmp_path / "one", 10), write_pairs(tmp_path / "two", 3)
    examples, [validation] = open_examples(_config(one, validation=(str(two),), holdout=0.5))
    assert (len(examples), validation.name, len(validation)) == (10, "two", 3)


def test_masks_may_have_an_ending_that_pictures_have_not(tmp_path):
    root, other = write_pairs(tmp_path / "set", 3), write_pairs(tmp_path / "other", 2)
    for mask in list((root / "masks").iterdir()):
        mask.rename(mask.with_stem(f"{mask.stem}_mask"))
    with pytest.raises(InvalidDataset, match="--mask-suffix _mask"):
        open_examples(_config(root))
    examples, (validation,) = open_examples(_config(root, mask_suffix="_mask", validation=(str(other),)))
    assert _names(examples.entries) == [f"set/picture-{index:02}" for index in range(3)]
    assert len(validation) == 2
    apart = _config(images=str(root / "images"), masks=str(root / "masks"), mask_suffix="_mask", holdout=0.0)
    assert len(open_examples(apart)[0].without([])) == 3


# ---- What cannot be used -------------------------------------------------------------------------------------


def test_five_faults_among_pairs_are_found_and_named(tmp_path):
    root = write_pairs(tmp_path / "set", 10)
    (root / "masks/picture-01.png").unlink()
    (root / "images/picture-02.png").unlink()
    Image.new("L", (32, 40)).save(root / "masks/picture-03.png")
    content = (root / "images/picture-04.png").read_bytes()
    (root / "images/picture-04.png").write_bytes(content[: len(content) // 2])
    (root / "masks/picture-05.png").write_bytes(b"<html>")
    examples, _ = open_examples(_config(root))
    failures = examples.check(num_threads=3)
    assert [name for name, _ in failures] == [f"set/picture-{index:02}" for index in range(1, 6)]
    reasons = [reason for _, reason in failures]
    for reason, words in zip(
        reasons, ["no mask", "no picture", "40×32 pixels, its mask 32×40", "", "not a"], strict=True
    ):
        assert words in reason
        assert "\n" not in reason
    left = examples.without(failures)
    assert _names(left.entries) == [f"set/picture-{index:02}" for index in (0, 6, 7, 8, 9)]
    assert len(left.weights) == 5


def test_going_through_pairs_can_be_watched(tmp_path):
    examples, _ = open_examples(_config(write_pairs(tmp_path / "set", 3)))
    seen = []
    examples.check(1, lambda numbers: (seen.append(number) or number for number in numbers))
    assert seen == [0, 1, 2]


def test_where_none_can_be_used_the_reason_is_said(tmp_path):
    root = write_pairs(tmp_path / "set", 2)
    for mask in (root / "masks").iterdir():
        mask.write_bytes(b"")
    examples, _ = open_examples(_config(root))
    with pytest.raises(InvalidDataset, match="none of 2 pairs can be used: set/picture-00"):
        examples.without(examples.check(1))


def test_nothing_to_train_on_is_said_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    strangers = write_pairs(tmp_path / "strangers", 1)
    (strangers / "masks/picture-00.png").rename(strangers / "masks/other.png")
    for config in (_config(), _config(tmp_path / "empty"), _config(tmp_path / "nowhere"), _config(strangers)):
        with pytest.raises(InvalidDataset) as caught:
            open_examples(config)
        assert "\n" not in str(caught.value)


# ---- Several classes -----------------------------------------------------------------------------------------

CLASSES = ("background", "shirt", "trousers")


def _save_mask(root, indices, colours) -> None:
    mask = Image.fromarray(indices)
    if colours:
        mask = mask.convert("P")
        mask.putdata(indices.ravel().tolist())
        mask.putpalette(colours)
    mask.save(root / "masks/picture-00.png")


@pytest.mark.parametrize("colours", [None, [255, 0, 0, 0, 255, 0, 0, 0, 255]])
def test_indices_are_kept_whatever_colours_a_palette_gives_them(tmp_path, colours):
    root = write_pairs(tmp_path / "set", 1)
    indices = np.random.default_rng(0).integers(0, 3, (32, 40), dtype=np.uint8)
    _save_mask(root, indices, colours)
    examples, _ = open_examples(_config(root, classes=CLASSES))
    np.testing.assert_array_equal(examples.load(0)[1], indices)


@pytest.mark.parametrize(("index", "is_known"), [(2, True), (3, False), (254, False), (255, True)])
def test_an_index_beyond_the_classes_is_named(tmp_path, index, is_known):
    root = write_pairs(tmp_path / "set", 1)
    indices = np.zeros((32, 40), dtype=np.uint8)
    indices[3, 4] = index
    _save_mask(root, indices, None)
    examples, _ = open_examples(_config(root, classes=CLASSES))
    failures = [("set/picture-00", f"has index {index} in its mask, of 3 classes")]
    assert examples.check(1) == ([] if is_known else failures)


# ---- Order ----------------------------------------------------------------------------------------------------


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
