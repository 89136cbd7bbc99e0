import collections
import copy
import hashlib
import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from needs import FolderIsNoFile
from torch import nn

from u2net.errors import InvalidModel
from u2net.models.card import Card
from u2net.models.transform import Transform
from u2net.net import U2NET, U2NETP, Stage, U2Net, export_onnx, load_checkpoint, save_checkpoint
from u2net.net.checkpoint import digest, to_authors_key

Shapes = dict[str, tuple[int, ...]]

# ---- The authors' names, written out from their source -------------------------------------------------------

STAGES = [*(f"stage{i}" for i in (1, 2, 3, 4, 5, 6)), *(f"stage{i}d" for i in (5, 4, 3, 2, 1))]
LEVELS = (7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7)
FULL = (
    *((3, 32, 64), (64, 32, 128), (128, 64, 256), (256, 128, 512), (512, 256, 512), (512, 256, 512)),
    *((1024, 256, 512), (1024, 128, 256), (512, 64, 128), (256, 32, 64), (128, 16, 64)),
)
SMALL = ((3, 16, 64), *[(64, 16, 64)] * 5, *[(128, 16, 64)] * 5)


def authors_shapes(widths: tuple[tuple[int, int, int], ...]) -> Shapes:
    """Key and shape of every entry of the authors' state dict; `widths` are I, M, O of each stage."""
    shapes: Shapes = {}

    def add_convolution(name: str, c_in: int, c_out: int, kernel: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (c_out, c_in, kernel, kernel), (c_out,)

    def add_block(name: str, c_in: int, c_out: int) -> None:
        add_convolution(f"{name}.conv_s1", c_in, c_out, 3)
        for key in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn_s1.{key}"] = (c_out,)
        shapes[f"{name}.bn_s1.num_batches_tracked"] = ()

    for stage, last, (c_in, c_mid, c_out) in zip(STAGES, LEVELS, widths, strict=True):
        add_block(f"{stage}.rebnconvin", c_in, c_out)
        add_block(f"{stage}.rebnconv1", c_out, c_mid)
        for level in range(2, last + 1):
            add_block(f"{stage}.rebnconv{level}", c_mid, c_mid)
        for level in range(last - 1, 1, -1):
            add_block(f"{stage}.rebnconv{level}d", 2 * c_mid, c_mid)
        add_block(f"{stage}.rebnconv1d", 2 * c_mid, c_out)
    for side, row in zip(range(1, 7), (10, 9, 8, 7, 6, 5), strict=True):
        add_convolution(f"side{side}", widths[row][2], 1, 3)
    add_convolution("outconv", 6, 1, 1)
    return shapes


def our_shapes(table) -> Shapes:
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in U2Net(table).state_dict().items()}


def as_authors(network: U2Net) -> dict[str, torch.Tensor]:
    return {to_authors_key(key): value for key, value in network.state_dict().items()}


@pytest.mark.parametrize(("table", "widths"), [(U2NET, FULL), (U2NETP, SMALL)], ids=["U2NET", "U2NETP"])
def test_our_keys_become_the_authors_798_with_equal_shapes(table, widths):
    translated = {to_authors_key(key): shape for key, shape in our_shapes(table).items()}
    assert len(translated) == 798
    assert translated == authors_shapes(widths)


def test_686_of_the_keys_are_not_counters():
    keys = [to_authors_key(key) for key in our_shapes(U2NETP)]
    assert sum(not key.endswith("num_batches_tracked") for key in keys) == 686


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("encoder.0.conv_in.conv.weight", "stage1.rebnconvin.conv_s1.weight"),
        ("encoder.5.encoder.3.norm.running_var", "stage6.rebnconv4.bn_s1.running_var"),
        ("encoder.1.decoder.0.conv.bias", "stage2.rebnconv1d.conv_s1.bias"),
        ("decoder.4.decoder.2.norm.num_batches_tracked", "stage5d.rebnconv3d.bn_s1.num_batches_tracked"),
        ("decoder.0.encoder.6.norm.bias", "stage1d.rebnconv7.bn_s1.bias"),
        ("sides.5.weight", "side6.weight"),
        ("fuse.bias", "outconv.bias"),
    ],
)
def test_a_key_is_translated_by_its_text(ours, theirs):
    assert to_authors_key(ours) == theirs


def test_numbers_of_two_digits_are_translated_too():
    assert to_authors_key("encoder.9.encoder.10.conv.bias") == "stage10.rebnconv11.conv_s1.bias"


# ---- Authors' files ------------------------------------------------------------------------------------------


def equal(one: U2Net, other: U2Net) -> bool:
    """Whether both networks have the same table, weights and running statistics."""
    a, b = one.state_dict(), other.state_dict()
    return one.stages == other.stages and a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def save_pth(tmp_path):
    def save(state: object, name: str = "authors.pth", **options) -> Path:
        torch.save(state, tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_the_authors_layout_is_read(thin, save_pth, zipped):
    path = save_pth(as_authors(thin), _use_new_zipfile_serialization=zipped)
    assert equal(load_checkpoint(path).network, thin)


def test_the_prefix_of_data_parallel_is_dropped(least, least_table, save_pth):
    path = save_pth({f"module.{key}": value for key, value in as_authors(least).items()})
    assert equal(load_checkpoint(path, least_table).network, least)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_of_old_torch_without_counters_are_read(least, least_table, save_pth, prefix):
    state = {prefix + key: value for key, value in as_authors(least).items() if "num_batches" not in key}
    network = load_checkpoint(save_pth(state), least_table).network
    assert {int(m.num_batches_tracked) for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {0}
    assert digest(network.state_dict()) == digest(least.state_dict())


def test_counters_may_be_missing_where_the_table_is_guessed(thin, save_pth):
    state = {key: value for key, value in as_authors(thin).items() if "num_batches" not in key}
    assert load_checkpoint(save_pth(state)).network.stages == thin.stages


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict])
def test_the_order_of_the_keys_does_not_matter(least, least_table, save_pth, kind):
    path = save_pth(kind(reversed(as_authors(least).items())))
    assert equal(load_checkpoint(path, least_table).network, least)


def test_parameters_are_read_like_tensors(least, least_table, save_pth):
    path = save_pth(as_authors(least) | {"outconv.bias": nn.Parameter(least.fuse.bias.detach())})
    assert equal(load_checkpoint(path, least_table).network, least)


def test_a_loaded_network_is_ready_for_inference(least, least_table, save_pth):
    network = load_checkpoint(save_pth(as_authors(least)), least_table).network
    assert not any(module.training for module in network.modules())


def test_a_loaded_network_can_be_trained(least, least_table, save_pth):
    network = load_checkpoint(save_pth(as_authors(least)), least_table).network.train()
    sum(logits.sum() for logits in network(torch.ones(2, 3, 32, 32))).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_card_of_foreign_weights_has_the_files_name_and_counts_its_parameters(least, least_table, save_pth):
    card = load_checkpoint(save_pth(as_authors(least), "mine.pth"), least_table).card
    num_parameters = sum(p.numel() for p in least.parameters())
    assert card == Card(name="mine", num_parameters=num_parameters, sha256=digest(least.state_dict()))


def test_widths_and_classes_are_recognised_from_shapes(new_network, save_pth):
    widths = [(4, 3, 5), (5, 2, 7), (7, 4, 6), (6, 3, 9), (9, 5, 4), (4, 2, 3)]  # all different
    widths += [(3 + 4, 2, 8), (8 + 9, 3, 2), (2 + 6, 1, 3), (3 + 7, 2, 6), (6 + 5, 4, 2)]
    table = tuple(Stage(h, i in (4, 5, 6), *widths[i]) for i, h in enumerate(LEVELS))
    network = new_network(table, num_classes=3)
    assert equal(load_checkpoint(save_pth(as_authors(network))).network, network)


def test_other_heights_are_read_with_their_table(tiny, tiny_table, save_pth):
    assert equal(load_checkpoint(save_pth(as_authors(tiny)), tiny_table).network, tiny)


def test_a_stray_table_is_refused(thin, tiny_table, save_pth):
    with pytest.raises(InvalidModel, match="do not fit"):
        load_checkpoint(save_pth(as_authors(thin)), tiny_table)


# ---- Refusals ------------------------------------------------------------------------------------------------

FIRST = "stage1.rebnconvin.conv_s1.weight"


def refusal(path: Path, *arguments) -> str:
    with pytest.raises(InvalidModel) as caught:
        load_checkpoint(path, *arguments)
    return str(caught.value)


@pytest.fixture
def complaint(least, least_table, save_pth):
    """What is said of the least network with these keys changed; None leaves one out."""

    def complain(**changes: torch.Tensor | None) -> str:
        state = {key: value for key, value in (as_authors(least) | changes).items() if value is not None}
        message = refusal(save_pth(state), least_table)
        assert message.startswith("authors.pth: the weights do not fit: ")
        return message.removeprefix("authors.pth: the weights do not fit: ")

    return complain


def test_a_missing_key_is_named(complaint):
    key = "stage2.rebnconv2.bn_s1.running_var"
    assert complaint(**{key: None}) == f"{key} is missing"


def test_an_unknown_key_is_named(complaint):
    assert complaint(stage9=torch.zeros(1)) == "stage9 is unknown"


def test_another_shape_is_named(complaint):
    changes = {"side2.weight": torch.zeros(1, 4, 5, 5)}
    assert complaint(**changes) == "side2.weight is (1, 4, 5, 5), not (1, 4, 3, 3)"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32, torch.complex64])
def test_another_type_of_number_is_named(complaint, dtype):
    name = str(dtype).removeprefix("torch.")
    assert complaint(**{"side2.bias": torch.zeros(1, dtype=dtype)}) == f"side2.bias is {name}, not float32"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_named(complaint, value):
    weight = torch.zeros(1, 4, 3, 3)
    weight[0, 1, 2, 2] = value
    assert complaint(**{"side2.weight": weight}) == "side2.weight is not finite"


def test_the_first_five_of_many_are_named_in_the_networks_order_and_the_rest_counted(complaint):
    names = ["conv_s1.weight", "conv_s1.bias"]
    names += [f"bn_s1.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    missing = [f"{block}.{name}" for block in ("stage2.rebnconv1", "stage1d.rebnconv2") for name in names]
    changes = {"stranger": torch.zeros(1), **dict.fromkeys(reversed(missing))}
    named = "; ".join(f"{key} is missing" for key in missing[:5])
    assert complaint(**changes) == f"{named}; and 8 more"


def test_five_are_all_named(complaint):
    strangers = {f"k{i}": torch.zeros(1) for i in range(5)}
    assert complaint(**strangers) == "k0 is unknown; k1 is unknown; k2 is unknown; k3 is unknown; k4 is unknown"


def test_a_refusal_is_one_line_whatever_the_keys_are(complaint):
    assert complaint(**{"one\ntwo\x1b[31m": torch.zeros(1)}).isprintable()


def test_other_heights_without_their_table_are_refused(tiny, save_pth):
    assert re.search(r"do not fit: .*; and \d+ more$", refusal(save_pth(as_authors(tiny))))


@pytest.mark.parametrize(
    "content",
    [{}, [], None, 7, "text", torch.zeros(3), {"epoch": 3}, {"model": {FIRST: torch.zeros(1)}}, {FIRST: [0.5]}],
    ids=repr,
)
def test_what_is_no_state_dict_is_refused(save_pth, content):
    assert refusal(save_pth(content)) == "authors.pth: does not hold a state dict of tensors"


ODD_KINDS = {
    "sparse": lambda weight: weight.to_sparse(),
    "without storage": lambda weight: weight.to("meta"),
    "empty": lambda weight: weight[:0],
    "a number": lambda weight: weight[0, 0, 0, 0],
    "nested": lambda weight: torch.nested.nested_tensor([weight[0], weight[0, :2]]),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("change", ODD_KINDS.values(), ids=ODD_KINDS)
@pytest.mark.parametrize(("key", "with_table"), [(FIRST, True), ("side1.weight", True), ("side1.weight", False)])
def test_weights_of_an_odd_kind_are_refused(least, least_table, save_pth, change, key, with_table):
    state = as_authors(least)
    path = save_pth(state | {key: change(state[key])})
    assert refusal(path, *([least_table] if with_table else []))


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "onnx"])
def test_a_missing_file_is_an_os_error(tmp_path, suffix):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / f"none.{suffix}")


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "onnx"])
def test_a_folder_is_an_os_error(tmp_path, suffix):
    (tmp_path / f"folder.{suffix}").mkdir()
    with pytest.raises(FolderIsNoFile):
        load_checkpoint(tmp_path / f"folder.{suffix}")


# ---- Our own files -------------------------------------------------------------------------------------------

CARD = Card(
    name="mine",
    transform=Transform(size=(64, 48), mean=(0.5, 0.5, 0.5), output="logits", stretch=False),
    licence="CC0-1.0",
    source="Made up — for a test",
    scores={"ECSSD maxF": 0.5},
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny) -> Path:
    """Our safetensors of the tiny network. Shared: not to be changed."""
    path = tmp_path_factory.mktemp("saved") / "tiny.safetensors"
    save_checkpoint(tiny, path, CARD)
    return path


def test_our_own_file_gives_back_table_weights_and_statistics(saved, tiny):
    assert equal(load_checkpoint(saved).network, tiny)


def test_several_classes_are_given_back(tmp_path, new_network, tiny_table):
    card = Card(name="parts", classes=("none", "head", "hand"))
    save_checkpoint(new_network(tiny_table, num_classes=3), tmp_path / "parts.safetensors", card)
    loaded = load_checkpoint(tmp_path / "parts.safetensors")
    assert (loaded.network.num_classes, loaded.card.classes) == (3, card.classes)


def test_the_card_is_given_back_with_digest_and_number_of_parameters(saved, tiny):
    num_parameters = sum(p.numel() for p in tiny.parameters())
    assert load_checkpoint(saved).card == replace(CARD, sha256=digest(tiny.state_dict()), num_parameters=num_parameters)


def test_saving_returns_the_card_as_it_is_written(tmp_path, tiny):
    card = save_checkpoint(tiny, tmp_path / "tiny.safetensors", CARD)
    assert card == load_checkpoint(tmp_path / "tiny.safetensors").card


def test_our_own_file_is_plain_safetensors(saved, tiny):
    state = safetensors.torch.load_file(saved)
    assert all(torch.equal(value, state.pop(key)) for key, value in tiny.state_dict().items())
    assert not state


def test_saving_leaves_the_network_alone(tmp_path, new_network, tiny_table):
    network = new_network(tiny_table).train()
    before = copy.deepcopy(network)
    save_checkpoint(network, tmp_path / "tiny.safetensors", CARD)
    assert network.training
    assert equal(network, before)


def test_a_network_in_channels_last_is_saved_like_any(tmp_path, tiny):
    network = copy.deepcopy(tiny).to(memory_format=torch.channels_last)
    save_checkpoint(network, tmp_path / "tiny.safetensors", CARD)
    assert equal(load_checkpoint(tmp_path / "tiny.safetensors").network, tiny)


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path, tiny, monkeypatch):
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(b"old")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tiny, path, CARD)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("tiny.safetensors", b"old")]


# ---- The digest ----------------------------------------------------------------------------------------------


def test_the_digest_is_sha256_over_sorted_names_and_values():
    state = {"b": torch.tensor([1.5, -2.0]), "a": torch.tensor([[3.0]])}
    expected = hashlib.sha256(b"a" + bytes.fromhex("00004040") + b"b" + bytes.fromhex("0000c03f000000c0"))
    assert digest(state) == expected.hexdigest()


def test_the_digest_leaves_counters_out(tiny):
    state = tiny.state_dict()
    counted = {key: value + 1 if key.endswith("num_batches_tracked") else value for key, value in state.items()}
    assert digest(counted) == digest(state)


@pytest.mark.parametrize("key", ["fuse.bias", "encoder.0.conv_in.norm.running_var", "decoder.1.encoder.0.conv.weight"])
def test_the_digest_changes_with_any_value(tiny, key):
    state = tiny.state_dict()
    changed = state[key].clone()
    changed.view(-1)[-1] += 1e-6
    assert digest(state | {key: changed}) != digest(state)


def test_the_digest_does_not_depend_on_the_order_in_memory(tiny):
    turned = copy.deepcopy(tiny).to(memory_format=torch.channels_last)
    assert digest(turned.state_dict()) == digest(tiny.state_dict())


# ---- Damage --------------------------------------------------------------------------------------------------


def rewritten(path: Path, source: Path, **changes: str | None) -> Path:
    """A copy of our safetensors file with other metadata; None leaves an entry out."""
    with safetensors.safe_open(source, framework="pt") as file:
        metadata = {**file.metadata(), **{f"u2net.{key}": value for key, value in changes.items()}}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(source), metadata))
    return path


@pytest.mark.parametrize("key", ["card", "table"])
def test_safetensors_of_others_are_refused(tmp_path, saved, key):
    assert "has no model card" in refusal(rewritten(tmp_path / "a.safetensors", saved, **{key: None}))


ROWS = [[4, False, 3, 4, 8], [3, False, 8, 4, 8], [3, True, 8, 4, 8], [3, False, 16, 4, 8], [4, False, 16, 4, 8]]


def with_first(column: int, value: object) -> str:
    rows = [[*ROWS[0][:column], value, *ROWS[0][column + 1 :]], *ROWS[1:]]
    return json.dumps({"stages": rows, "num_classes": 1})


TABLES = {
    "no JSON": "stages",
    "a list": "[1]",
    "null": "null",
    "too deep": "[" * 100_000,
    "no stages": '{"num_classes": 1}',
    "no classes": json.dumps({"stages": ROWS}),
    "no rows": '{"stages": [], "num_classes": 1}',
    "an even number of rows": json.dumps({"stages": ROWS[:2], "num_classes": 1}),
    "a short row": json.dumps({"stages": [[4, False]], "num_classes": 1}),
    "a long row": json.dumps({"stages": [[*ROWS[0], 1]], "num_classes": 1}),
    "a row of text": json.dumps({"stages": ["abcde", *ROWS[1:]], "num_classes": 1}),
    "rows that do not fit": json.dumps({"stages": ROWS[::-1], "num_classes": 1}),
    "a million rows": json.dumps({"stages": [[2, False, 1, 1, 1]] * 100_000, "num_classes": 1}),
    "a height of 10⁹": with_first(0, 10**9),
    "a height of 1": with_first(0, 1),
    "a broken height": with_first(0, 4.5),
    "a whole height with a point": with_first(0, 4.0),
    "a height that is text": with_first(0, "4"),
    "no height": with_first(0, None),
    "channels that are text": with_first(3, "4"),
    "broken channels": with_first(3, 4.0),
    "negative channels": with_first(3, -4),
    "10⁹ channels": with_first(3, 10**9),
    "endless channels": with_first(3, float("inf")),
    "other channels": with_first(3, 5),
    "another height": with_first(0, 5),
    "zero classes": json.dumps({"stages": ROWS, "num_classes": 0}),
    "a class too many": json.dumps({"stages": ROWS, "num_classes": 2}),
    "true classes": json.dumps({"stages": ROWS, "num_classes": True}),
    "10⁹ classes": json.dumps({"stages": ROWS, "num_classes": 10**9}),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_damaged_table_is_refused(tmp_path, saved, table):
    assert refusal(rewritten(tmp_path / "a.safetensors", saved, table=table)).startswith("a.safetensors: ")


@pytest.mark.parametrize(
    "card", ["", "[]", "{}", '{"name": 3}', '{"name": "a", "colour": 1}', '{"name": "a", "transform": {"size": 3}}']
)
def test_a_damaged_card_is_refused(tmp_path, saved, card):
    assert refusal(rewritten(tmp_path / "a.safetensors", saved, card=card)).startswith("a.safetensors: ")


def test_weights_that_are_not_the_cards_are_refused(tmp_path, saved, tiny):
    state = tiny.state_dict()
    state["fuse.bias"] = state["fuse.bias"] + 1
    with safetensors.safe_open(saved, framework="pt") as file:
        content = safetensors.torch.save(state, file.metadata())
    (tmp_path / "a.safetensors").write_bytes(content)
    assert "not those that were saved" in refusal(tmp_path / "a.safetensors")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory, least) -> dict[str, bytes]:
    """The least network in each format."""
    folder = tmp_path_factory.mktemp("pieces")
    torch.save(as_authors(least), folder / "zip.pth")
    torch.save(as_authors(least), folder / "old.pth", _use_new_zipfile_serialization=False)
    save_checkpoint(least, folder / "own.safetensors", CARD)
    export_onnx(least, folder / "own.onnx", CARD)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["zip.pth", "old.pth", "own.safetensors", "own.onnx"])
def test_a_file_that_was_cut_short_is_refused(tmp_path, pieces, least_table, name):
    path = tmp_path / name
    for length in (len(pieces[name]) * i // 50 for i in range(50)):
        path.write_bytes(pieces[name][:length])
        assert refusal(path, least_table).startswith(f"{name}: ")


def flipped(content: bytes, start: int, stop: int, count: int = 50) -> Iterator[bytes]:
    """Copies of the content with one bit flipped each, between two positions."""
    chosen = random.Random(0)
    for _ in range(count):
        damaged = bytearray(content)
        damaged[chosen.randrange(start, stop)] ^= 1 << chosen.randrange(8)
        yield bytes(damaged)


@pytest.mark.parametrize("part", ["header", "weights"])
def test_one_flipped_bit_of_our_own_file_never_gives_other_weights(tmp_path, pieces, least, part):
    content = pieces["own.safetensors"]
    end = 8 + int.from_bytes(content[:8], "little")
    path = tmp_path / "flipped.safetensors"
    for damaged in flipped(content, *((0, end) if part == "header" else (end, len(content)))):
        path.write_bytes(damaged)
        try:
            network = load_checkpoint(path).network
        except InvalidModel:
            continue
        # A flip in a counter or in the card's prose goes unseen: weights and statistics are what was saved.
        assert digest(network.state_dict()) == digest(least.state_dict())


@pytest.mark.parametrize(
    ("name", "start", "stop"),
    [
        ("zip.pth", 0, None),
        ("zip.pth", 0, 6_000),
        ("zip.pth", -6_000, None),
        ("old.pth", 0, None),
        ("old.pth", 0, 9_000),
    ],
    ids=["zip", "zip's pickle", "zip's directory", "before torch 1.6", "its pickle"],
)
def test_one_flipped_bit_of_a_pth_is_refused_or_leaves_sound_numbers(tmp_path, pieces, least_table, name, start, stop):
    """The authors' format has no checksum: other weights may come out, but they are finite and they fit."""
    content = pieces[name]
    path = tmp_path / "flipped.pth"
    for damaged in flipped(content, *slice(start, stop).indices(len(content))[:2], count=20):
        path.write_bytes(damaged)
        try:
            network = load_checkpoint(path, least_table).network
        except InvalidModel:
            continue
        assert network.stages == least_table
        assert all(value.isfinite().all() for value in network.state_dict().values())


def test_one_flipped_bit_of_an_onnx_file_is_refused_or_leaves_sound_numbers(tmp_path, pieces, least_table):
    path = tmp_path / "flipped.onnx"
    for damaged in flipped(pieces["own.onnx"], 0, len(pieces["own.onnx"]), count=12):
        path.write_bytes(damaged)
        try:
            network = load_checkpoint(path, least_table).network
        except InvalidModel:
            continue
        assert all(value.isfinite().all() for value in network.state_dict().values())


def test_a_state_dict_of_our_own_class_loads_as_it_was_saved(tmp_path, new_network, thin_table):
    network = new_network(thin_table, num_classes=2)
    torch.save(network.state_dict(), tmp_path / "own.pth")
    loaded = load_checkpoint(tmp_path / "own.pth").network
    assert loaded.num_classes == 2
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
