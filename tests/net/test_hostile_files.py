"""Files made to do harm: each is refused in one line, runs nothing, and takes little memory (docs: SECURITY.md)."""

import copy
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import torch
from needs import needs_proc
from onnx import TensorProto, helper, numpy_helper

from u2net.errors import InvalidModel
from u2net.inference.open import new_session
from u2net.inference.runtimes import RUNTIMES
from u2net.models.onnx_file import read_metadata
from u2net.net import Stage, U2Net, load_checkpoint
from u2net.net.checkpoint import to_authors_key
from u2net.net.export import to_onnx

MAX_MEGABYTES = 200
MARKER = "ran"


class Evil:
    """Unpickling it leaves a marker in the working directory."""

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.system, (f"touch {MARKER}",)


class LargeArray:
    """Unpickling it asks for 300 MB, with a call that torch allows."""

    def __reduce__(self) -> tuple[Callable, tuple[int]]:
        return bytearray, (300_000_000,)


# ---- The files -----------------------------------------------------------------------------------------------


def state() -> dict[str, torch.Tensor]:
    """The authors' layout, a few channels wide: it would load."""
    heights, c_ins = (7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7), (3, *[2] * 5, *[4] * 5)
    network = U2Net([Stage(h, i in (4, 5, 6), c_ins[i], 1, 2) for i, h in enumerate(heights)])
    return {to_authors_key(key): value for key, value in network.state_dict().items()}


def pth(content: object, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, pickle_protocol=2, **options)
    return buffer.getvalue()


def archive(pickled: bytes, storages: dict[str, bytes]) -> bytes:
    """torch's zip format, entries stored."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/byteorder", "little")
        file.writestr("a/version", "3\n")
        for name, content in storages.items():
            file.writestr(f"a/data/{name}", content)
    return buffer.getvalue()


def repacked(content: bytes, compression: int = zipfile.ZIP_STORED, prefix: str = "") -> bytes:
    """The same archive compressed, or with other names in it."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(buffer, "w", compression, compresslevel=1) as file,
    ):
        for entry in source.infolist():
            file.writestr(prefix + entry.filename, source.read(entry))
    return buffer.getvalue()


def state_pickle(num_storages: int, num_floats: int) -> bytes:
    """The pickle of so many tensors, each of a storage of its own of so many numbers, without the storages."""
    content = pth({str(i): torch.zeros(3) for i in range(num_storages)})
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        (name,) = (name for name in file.namelist() if name.endswith("data.pkl"))
        pickled = file.read(name)
    # In a storage's description, "K\x03t" is the number 3 and the end of a tuple; J takes four bytes.
    return pickled.replace(b"K\x03t", b"J" + num_floats.to_bytes(4, "little") + b"t")


def zip_bomb() -> bytes:
    zeros = 60_000_000
    return repacked(archive(state_pickle(1, zeros), {"0": bytes(4 * zeros)}), zipfile.ZIP_DEFLATED)


def overlapping_entries() -> bytes:
    """300 entries of an archive that are the same megabyte of it."""
    buffer = io.BytesIO()
    content = archive(state_pickle(300, 2**18), {"0": bytes(2**20)})
    buffer.write(content)
    with zipfile.ZipFile(buffer, "a") as file:
        first = file.getinfo("a/data/0")
        for i in range(1, 300):
            entry = copy.copy(first)
            entry.filename = f"a/data/{i}"
            file.filelist.append(entry)
            file.NameToInfo[entry.filename] = entry
        file.writestr("a/end", "")  # makes the directory be written again
    return buffer.getvalue()


def two_directories() -> bytes:
    """Of sound entries where zipfile looks, back from the end, and of a bomb where torch does, at the offset."""
    bomb, plain = zip_bomb(), repacked(archive(state_pickle(1, 3), {"0": bytes(12)}))
    (num_bomb, offset), (num_plain, plain_offset) = (struct.unpack("<2L", c[-10:-2]) for c in (bomb, plain))
    body = bytearray(plain[:-22])
    body += b" " * (num_bomb - num_plain)  # a comment of the last entry: the end has one length for both directories
    struct.pack_into("<H", body, body.rfind(b"PK\1\2") + 32, num_bomb - num_plain)
    entry = body.find(b"PK\1\2")
    while entry >= 0:  # zipfile takes what stands before the expected place of the directory for another file
        (place,) = struct.unpack_from("<L", body, entry + 42)
        struct.pack_into("<L", body, entry + 42, place + offset - plain_offset)
        entry = body.find(b"PK\1\2", entry + 1)
    return bomb[:-22] + bytes(body) + bomb[-22:]


def many_entries() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for i in range(10_000):
            file.writestr(f"a/{i}", "")
    return buffer.getvalue()


def strides_of_zero() -> bytes:
    """A state dict whose tensors repeat one number: a network of 600 MB in a file of 200 kB."""
    wide = 4096
    widths = [(3, 1, 1), (1, 1, wide), (wide, 1, wide), (wide, 1, 1), (1, 1, 1), (1, 1, 1)]
    widths += [(2, 1, 1), (2, 1, 1), (wide + 1, 1, 1), (wide + 1, 1, 1), (2, 1, 1)]
    heights = (7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7)
    with torch.device("meta"):
        network = U2Net([Stage(h, i in (4, 5, 6), *widths[i]) for i, h in enumerate(heights)])
    one = {torch.float32: torch.zeros(()), torch.int64: torch.tensor(0)}
    return pth({to_authors_key(key): one[v.dtype].expand(v.shape) for key, v in network.state_dict().items()})


def legacy_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            content = pickle.dumps(Evil(), protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def safetensors(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def overlapping_tensors() -> bytes:
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return safetensors(json.dumps({"a": tensor, "b": tensor}).encode(), bytes(8))


def million_tensors() -> bytes:
    entries = (f'"{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for i in range(1_000_000))
    return safetensors(("{" + ",".join(entries) + "}").encode())


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(*nodes: onnx.NodeProto, initializer=(), sparse_initializer=()) -> bytes:
    """A model of (B, 3, 320, 320) -> (B, 3, 320, 320) with something beside its only path."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 320, 320])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, 320, 320])
    graph = helper.make_graph(
        [*nodes, helper.make_node("Relu", ["x"], ["y"])],
        "graph",
        [value],
        [output],
        initializer=list(initializer),
        sparse_initializer=list(sparse_initializer),
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return made.SerializeToString()


def in_subgraph(location: str) -> bytes:
    output = helper.make_tensor_value_info("v", TensorProto.FLOAT, [4])
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["v"])], "branch", [], [output])
    branch.initializer.append(external(location))
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(torch.tensor(True).numpy()))
    choice = helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)
    return model(condition, choice)


def in_sparse(location: str) -> bytes:
    indices = helper.make_tensor("", TensorProto.INT64, [4], [0, 1, 2, 3])
    return model(sparse_initializer=[helper.make_sparse_tensor(external(location), indices, [4])])


ONNX = {
    "initializer": lambda location: model(initializer=[external(location)]),
    "constant": lambda location: model(helper.make_node("Constant", [], ["z"], value=external(location))),
    "subgraph": in_subgraph,
    "sparse": in_sparse,
}
TEXT = b"This is no model, only text that somebody has renamed.\n" * 40

FILES: dict[str, Callable[[], bytes]] = {
    "reduce.pth": lambda: pth({"side1.weight": Evil()}),
    "reduce_old.pth": lambda: pth({"side1.weight": Evil()}, _use_new_zipfile_serialization=False),
    "plain.pkl": lambda: pickle.dumps(Evil()),
    "plain.pth": lambda: pickle.dumps(Evil(), protocol=2),
    "legacy_tar.pth": legacy_tar,
    "climbing_names.pth": lambda: repacked(pth(state()), prefix="../../"),
    "compressed.pth": lambda: repacked(pth(state()), zipfile.ZIP_DEFLATED),
    "zip_bomb.pth": zip_bomb,
    "overlapping_entries.pth": overlapping_entries,
    "two_directories.pth": two_directories,
    "many_entries.pth": many_entries,
    "strides_of_zero.pth": strides_of_zero,
    "large_array.pth": lambda: archive(pickle.dumps({"a": LargeArray()}, protocol=2), {}),
    "large_array_old.pth": lambda: pth({"a": LargeArray()}, _use_new_zipfile_serialization=False),
    "large_claim.pth": lambda: archive(state_pickle(1, 2**30), {"0": bytes(12)}),
    "text.pth": lambda: TEXT,
    "empty.pth": bytes,
    "long_header.safetensors": lambda: (99_999_999).to_bytes(8, "little") + b"{",  # the rest is a hole in the file
    "overlapping.safetensors": overlapping_tensors,
    "million.safetensors": million_tensors,
    "text.safetensors": lambda: TEXT,
    "empty.safetensors": bytes,
    **{
        f"{place}_{name}.onnx": lambda make=make, location=location: make(location)
        for place, make in ONNX.items()
        for name, location in (("passwd", "../../etc/passwd"), ("neighbour", "neighbour.bin"))
    },
    "text.onnx": lambda: TEXT,
    "empty.onnx": bytes,
    "pickle.onnx": lambda: pickle.dumps(Evil()),
    "safetensors.onnx": overlapping_tensors,
}

CASES = [
    *((opener, name) for opener in ("load_checkpoint",) for name in FILES),
    *(("new_session", name) for name in FILES if name.endswith((".onnx", ".pkl"))),
]

# Opens each file in a process of its own, whose memory tells what it took: the peak since it was last reset.
OPENER = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from u2net.errors import InvalidModel
from u2net.net import load_checkpoint
from u2net.inference.open import new_session

def memory(key):
    (line,) = (l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(key))
    return int(line.split()[1]) / 1024

for opener, name in json.loads(sys.argv[1]):
    grown = None
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
    start = time.perf_counter()
    try:
        globals()[opener](name)
        outcome = "opened"
    except InvalidModel as error:
        outcome = f"InvalidModel: {error}"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - start
    if sys.platform == "linux":
        grown = memory("VmHWM") - before
    print(json.dumps([opener, name, outcome, grown, seconds]), flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """All files, and one beside them that some of them name."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, make in FILES.items():
        (folder / name).write_bytes(make())
    with (folder / "long_header.safetensors").open("r+b") as file:
        file.truncate(8 + 99_999_999 + 8)
    (folder / "neighbour.bin").write_bytes(bytes(16))
    yield folder
    for name in FILES:
        (folder / name).unlink()  # pytest would keep them


@pytest.fixture(scope="module")
def outcomes(folder) -> dict[tuple[str, str], tuple[str, float | None]]:
    """What each function said of each file, and the megabytes that it took. Seconds are shown, not judged."""
    command = [sys.executable, "-c", OPENER, json.dumps(CASES)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(rows) == len(CASES), run.stderr
    for opener, name, _, grown, seconds in rows:
        sys.stdout.write(f"{opener:16} {name:32} {grown or 0:8.1f} MB {seconds:6.2f} s\n")
    return {(opener, name): (outcome, grown) for opener, name, outcome, grown, _ in rows}


@pytest.mark.parametrize(("opener", "name"), CASES)
def test_a_hostile_file_is_refused_in_one_line(outcomes, opener, name):
    outcome, _ = outcomes[opener, name]
    assert outcome.startswith(f"InvalidModel: {name}")
    assert outcome.isprintable()


@needs_proc
@pytest.mark.parametrize(("opener", "name"), CASES)
def test_a_hostile_file_takes_little_memory(outcomes, opener, name):
    assert outcomes[opener, name][1] < MAX_MEGABYTES


def test_no_hostile_file_ran_anything(outcomes, folder):
    assert not list(folder.rglob(MARKER))


def test_the_files_would_do_harm_if_unpickled(tmp_path, monkeypatch):
    """The negative control: without the refusal the marker appears."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(FILES["plain.pkl"]())
    assert (tmp_path / MARKER).exists()


def test_the_archives_are_refused_for_what_was_done_to_them(tmp_path):
    (tmp_path / "sound.pth").write_bytes(repacked(pth(state())))
    assert load_checkpoint(tmp_path / "sound.pth").network.num_classes == 1


@pytest.mark.parametrize("place", ONNX)
def test_weights_in_other_files_are_what_is_refused(outcomes, place):
    outcome, _ = outcomes["new_session", f"{place}_neighbour.onnx"]
    assert outcome.endswith("keeps weights in other files, which is refused")


@pytest.mark.parametrize("place", ONNX)
def test_the_same_graphs_are_opened_without_their_external_weights(tmp_path, place):
    content = ONNX[place]("neighbour.bin")
    made = onnx.ModelProto.FromString(content)
    for tensor in tensors(made):
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        if not tensor.HasField("raw_data") and not tensor.int64_data:
            tensor.raw_data = bytes(16)
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    assert read_metadata(tmp_path / "a.onnx") == {}


# ---- The schema that is walked against onnx's own ------------------------------------------------------------


def tensors(message) -> Iterator[TensorProto]:
    """Every tensor below a message, by onnx's own description of itself."""
    if isinstance(message, TensorProto):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                yield from tensors(child)


def ways_to_tensors(descriptor, names: tuple[str, ...] = (), seen: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every chain of fields from a model to a tensor that meets each kind of message at most twice."""
    if descriptor.name == "TensorProto":
        yield names
        return
    if seen.count(descriptor.name) < 2:
        for field in descriptor.fields:
            if field.message_type is not None:
                yield from ways_to_tensors(field.message_type, (*names, field.name), (*seen, descriptor.name))


WAYS = [way for way in ways_to_tensors(onnx.ModelProto.DESCRIPTOR) if len(way) <= 6]


@pytest.mark.parametrize("way", WAYS, ids=".".join)
def test_external_weights_are_found_wherever_onnx_lets_a_tensor_stand(tmp_path, way):
    made = onnx.ModelProto()
    made.graph.name = "graph"
    message = made
    for name in way:
        child = getattr(message, name)
        message = child.add() if message.DESCRIPTOR.fields_by_name[name].is_repeated else child
    message.CopyFrom(external("neighbour.bin"))
    (tmp_path / "a.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(InvalidModel, match="keeps weights in other files"):
        read_metadata(tmp_path / "a.onnx")


# ---- ONNX files that are sound but no network of ours --------------------------------------------------------


def graph(kind: str, output: list[int | str], *, inputs: int = 1, outputs: int = 1, dtype: int = TensorProto.FLOAT):
    taken = [helper.make_tensor_value_info(f"x{i}", dtype, ["batch", 3, 320, 320]) for i in range(inputs)]
    given = [helper.make_tensor_value_info(f"y{i}", dtype, output) for i in range(outputs)]
    constant = helper.make_tensor("c", dtype, [1, 1, 1, 1], [1])
    node = helper.make_node(kind, ["x0" if inputs else "c"], ["y0"])
    made = helper.make_graph([node], "graph", taken, given, initializer=[constant])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


USELESS = {
    "no input": lambda: graph("Identity", [1, 1, 1, 1], inputs=0),
    "no output": lambda: graph("Identity", [], outputs=0),
    "two inputs": lambda: graph("Identity", ["batch", 3, 320, 320], inputs=2),
    "whole numbers": lambda: graph("Identity", ["batch", 3, 320, 320], dtype=TensorProto.UINT8),
    "half precision": lambda: graph("Relu", ["batch", 3, 320, 320], dtype=TensorProto.FLOAT16),
    "an unknown operation": lambda: graph("Nonsense", ["batch", 3, 320, 320]),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("make", USELESS.values(), ids=USELESS)
def test_a_model_that_takes_no_picture_is_refused(tmp_path, make, runtime):
    pytest.importorskip(runtime)
    (tmp_path / "a.onnx").write_bytes(make())
    with pytest.raises(InvalidModel, match=r"a\.onnx"):
        new_session(tmp_path / "a.onnx", runtime=runtime, threads=1)


def test_a_bit_flipped_anywhere_in_a_graph_opens_or_is_refused(tmp_path, least):
    from u2net.models.card import Card

    model = to_onnx(least, Card(name="a"))
    for tensor in model.graph.initializer:
        tensor.raw_data = bytes(len(tensor.raw_data))
    content = model.SerializeToString()
    path = tmp_path / "a.onnx"
    for position in range(0, len(content), len(content) // 60):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        complaint = ""
        try:
            read_metadata(path)
            new_session(path, runtime="onnxruntime")
        except InvalidModel as refused:
            complaint = str(refused)
        assert "\n" not in complaint
