"""Files are put together byte by byte, from the wire format of protocol buffers and the field numbers of onnx.proto."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from needs import FolderIsNoFile

from u2net.errors import InvalidModel
from u2net.models.card import METADATA_KEY, Card
from u2net.models.onnx_file import read_metadata
from u2net.models.zoo import find

Write = Callable[[bytes], Path]


def varint(number: int, num_bytes: int = 1) -> bytes:
    """Seven bits a byte, lowest first; `num_bytes` pads with bytes that add nothing."""
    digits = []
    while number > 0x7F or len(digits) + 1 < num_bytes:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def message(field: int, content: bytes | str, tag_offset: int = 0) -> bytes:
    """A field of wire type 2: a message or a text behind its length."""
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2 | tag_offset) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def entry(key: str, value: str) -> bytes:
    """A StringStringEntryProto."""
    return message(1, key) + message(2, value)


NEIGHBOUR = entry("location", "neighbour.bin")
PLAIN = number(1, 4) + number(2, 1) + message(8, "w") + message(9, bytes(16))
"""A tensor of four float32: dims, data_type, name, raw_data."""
EXTERNAL = number(1, 4) + number(2, 1) + message(8, "w") + message(13, NEIGHBOUR) + number(14, 1)
"""The same, its numbers in another file: external_data and data_location."""

NODE = message(1, "x") + message(2, "y") + message(4, "Identity")
VERSIONS = number(1, 8) + message(8, number(2, 18))
"""ir_version and opset_import."""


def value_info(name: str) -> bytes:
    """float32 of shape (1, 3, 2, 2)."""
    dims = b"".join(message(1, number(1, size)) for size in (1, 3, 2, 2))
    return message(1, name) + message(2, message(1, number(1, 1) + message(2, dims)))


def model(graph: bytes = b"", *others: bytes) -> bytes:
    """A model whose graph passes `x` on as `y`, with more fields in the graph and beside it."""
    passing = message(1, NODE) + message(2, "graph") + message(11, value_info("x")) + message(12, value_info("y"))
    return VERSIONS + message(7, passing + graph) + b"".join(others)


SOUND = model(message(5, PLAIN), message(14, entry("author", "Ünal")), message(14, entry("empty", "")))


@pytest.fixture
def write(tmp_path) -> Write:
    def write(content: bytes) -> Path:
        (tmp_path / "a.onnx").write_bytes(content)
        return tmp_path / "a.onnx"

    return write


# ---- Sound files ---------------------------------------------------------------------------------------------


def test_the_metadata_of_a_sound_file_is_read(write):
    assert read_metadata(write(SOUND)) == {"author": "Ünal", "empty": ""}


def test_a_file_without_metadata_has_none(write):
    assert read_metadata(write(model())) == {}


def test_the_packaged_file_tells_its_card():
    card = Card.from_json(read_metadata(find("u2netp"))[METADATA_KEY])
    assert (card.name, card.num_parameters) == ("u2netp", 1_131_181)


def test_the_file_made_by_hand_is_one_that_the_runtime_runs(write):
    import onnxruntime

    session = onnxruntime.InferenceSession(write(SOUND), providers=["CPUExecutionProvider"])
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], x)
    assert session.get_modelmeta().custom_metadata_map == {"author": "Ünal", "empty": ""}


def test_what_the_onnx_package_writes_is_read_alike(write):
    onnx = pytest.importorskip("onnx")
    made = onnx.ModelProto.FromString(SOUND)
    assert read_metadata(write(made.SerializeToString())) == {e.key: e.value for e in made.metadata_props}


def test_fields_of_later_versions_are_stepped_over(write):
    unknown = varint(99 << 3 | 1) + bytes(8) + varint(98 << 3 | 5) + bytes(4) + number(97, 2**60) + message(96, b"\xff")
    assert read_metadata(write(model(unknown, unknown, message(14, entry("a", "b"))))) == {"a": "b"}


def test_a_later_entry_of_the_same_key_counts(write):
    assert read_metadata(write(model(b"", message(14, entry("a", "1")), message(14, entry("a", "2"))))) == {"a": "2"}


def test_a_path_may_be_text(write):
    assert read_metadata(str(write(model()))) == {}


# ---- Weights in other files ----------------------------------------------------------------------------------


def attribute(field: int, content: bytes) -> bytes:
    return message(1, "value") + message(field, content)


def node(attributes: bytes) -> bytes:
    return message(2, "z") + message(4, "Constant") + message(5, attributes)


def places(tensor: bytes) -> dict[str, bytes]:
    """A model with a tensor in each place where onnx.proto has room for one."""
    graph = message(5, tensor)
    sparse = message(1, tensor) + number(3, 4)
    deep = graph
    for _ in range(5):
        deep = message(1, node(attribute(6, deep)))
    return {
        "initializer": model(graph),
        "second initializer": model(message(5, PLAIN) + graph),
        "sparse initializer's values": model(message(15, sparse)),
        "sparse initializer's indices": model(message(15, message(2, tensor) + number(3, 4))),
        "attribute": model(message(1, node(attribute(5, tensor)))),
        "list of tensors": model(message(1, node(attribute(10, tensor)))),
        "subgraph": model(message(1, node(attribute(6, graph)))),
        "list of subgraphs": model(message(1, node(attribute(11, graph)))),
        "sparse attribute": model(message(1, node(attribute(22, sparse)))),
        "list of sparse tensors": model(message(1, node(attribute(23, sparse)))),
        "subgraph of subgraphs": model(deep),
        "function": model(b"", message(25, message(7, node(attribute(5, tensor))))),
        "default of a function": model(b"", message(25, message(11, attribute(5, tensor)))),
        "initialisation for training": model(b"", message(20, message(1, graph))),
        "algorithm for training": model(b"", message(20, message(2, graph))),
        "second graph, which parsers merge": model(b"", message(7, graph)),
    }


@pytest.mark.parametrize("place", places(b""))
def test_weights_in_another_file_are_refused_wherever_they_stand(write, place):
    with pytest.raises(InvalidModel, match=r"^a\.onnx keeps weights in other files, which is refused$"):
        read_metadata(write(places(EXTERNAL)[place]))


@pytest.mark.parametrize("place", places(b""))
def test_weights_in_the_file_itself_are_accepted_wherever_they_stand(write, place):
    assert read_metadata(write(places(PLAIN)[place])) == {}


@pytest.mark.parametrize(
    "tensor",
    [PLAIN + message(13, NEIGHBOUR), PLAIN + number(14, 1), message(13, b"") + PLAIN, number(14, 1) + PLAIN],
    ids=["location alone", "marked as external alone", "an empty entry", "marked first"],
)
def test_half_a_reference_is_refused_too(write, tensor):
    with pytest.raises(InvalidModel, match="weights in other files"):
        read_metadata(write(model(message(5, tensor))))


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "neighbour.bin", "", "*/_ORT_MEM_ADDR_/*"])
def test_no_location_is_trusted(write, location):
    tensor = PLAIN + message(13, entry("location", location)) + number(14, 1)
    with pytest.raises(InvalidModel, match="weights in other files"):
        read_metadata(write(model(message(5, tensor))))


OVERFLOW = 1 << 32  # parsers read a tag into 32 bits


@pytest.mark.parametrize(
    "content",
    [
        model(message(5, PLAIN + message(13, NEIGHBOUR, OVERFLOW) + number(14, 1 + OVERFLOW))),
        model(message(5, EXTERNAL, OVERFLOW)),
        model(b"", message(7, message(5, EXTERNAL), OVERFLOW)),
        model(message(5, PLAIN + number(14, 1 + OVERFLOW))),
    ],
    ids=["location", "initializer", "graph", "mark"],
)
def test_a_field_that_parsers_would_take_for_another_is_refused(write, content):
    with pytest.raises(InvalidModel):
        read_metadata(write(content))


@pytest.mark.parametrize("num_bytes", [2, 4, 5])
def test_a_field_number_written_longer_than_needed_is_still_that_field(write, num_bytes):
    reference = varint(13 << 3 | 2, num_bytes) + varint(len(NEIGHBOUR)) + NEIGHBOUR
    with pytest.raises(InvalidModel, match="weights in other files"):
        read_metadata(write(model(message(5, PLAIN + reference))))


# ---- Damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x00", "is damaged or not"),
        (b"Only text, renamed.", "is damaged or not"),
        (b"\x89PNG\r\n\x1a\n", "is damaged or not"),
        (VERSIONS, "is not an ONNX model"),
        (number(7, 1), "is damaged or not"),
        (message(14, message(1, b"\xff\xfe")), "is damaged or not"),
        (varint(7 << 3 | 2) + varint(100) + bytes(99), "is damaged or not"),
        (varint(7 << 3 | 2) + b"\xff" * 12, "is damaged or not"),
        (varint(7 << 3 | 2), "is damaged or not"),
        (varint(7 << 3 | 3), "is damaged or not"),
        (varint(3 << 3 | 1) + bytes(7), "is damaged or not"),
        (varint(3 << 3 | 5) + bytes(3), "is damaged or not"),
    ],
    ids=[
        *("empty", "one zero", "text", "a picture", "no graph", "a number for a graph", "text not of this world"),
        *("too short", "an endless length", "no length", "a group", "half a double", "half a float"),
    ],
)
def test_what_is_no_onnx_model_is_refused(write, content, message):
    with pytest.raises(InvalidModel, match=rf"^a\.onnx {message}"):
        read_metadata(write(content))


def test_graphs_without_end_are_refused(write):
    graph = b""
    for _ in range(2000):
        graph = message(1, message(5, message(6, graph)))
    with pytest.raises(InvalidModel):
        read_metadata(write(model(graph)))


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_metadata(tmp_path / "none.onnx")


def test_a_folder_is_an_os_error(tmp_path):
    with pytest.raises(FolderIsNoFile):
        read_metadata(tmp_path)


def outcome(path: Path, content: bytes) -> dict[str, str] | None:
    """The metadata, None if refused; any other exception is a failure."""
    path.write_bytes(content)
    try:
        return read_metadata(path)
    except InvalidModel:
        return None


def test_every_beginning_of_a_file_is_refused_or_read(tmp_path):
    for length in range(len(SOUND)):
        assert outcome(tmp_path / "a.onnx", SOUND[:length]) in (None, {}, {"author": "Ünal"})


def test_every_flipped_bit_is_refused_or_read(tmp_path):
    for position in range(len(SOUND)):
        for bit in range(8):
            damaged = bytearray(SOUND)
            damaged[position] ^= 1 << bit
            assert isinstance(outcome(tmp_path / "a.onnx", bytes(damaged)), dict | None)


def test_beginnings_of_the_packaged_file_are_refused_or_read(tmp_path):
    content = find("u2netp").read_bytes()
    chosen = random.Random(0)
    for _ in range(50):
        found = outcome(tmp_path / "a.onnx", content[: chosen.randrange(len(content))])
        assert found is None or found.keys() <= {"u2net.card"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "a.onnx"


def fields(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Messages of a few of the fields that are walked, of these contents."""
    known = st.sampled_from([1, 2, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 20, 22, 23, 25])
    field = st.builds(message, known, children) | st.builds(number, known, st.integers(0, 2**64))
    return st.lists(field, max_size=4).map(b"".join)


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@example(b"\x3a\x05garba")
@given(st.binary(max_size=200) | st.recursive(st.binary(max_size=8), fields, max_leaves=20))
def test_any_bytes_are_refused_or_read(scratch, content):
    assert isinstance(outcome(scratch, content), dict | None)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(0, len(SOUND)), st.integers(0, len(SOUND)), st.binary(max_size=12))
def test_any_bytes_in_the_middle_of_a_file_are_refused_or_read(scratch, start, stop, content):
    assert isinstance(outcome(scratch, SOUND[:start] + content + SOUND[stop:]), dict | None)
