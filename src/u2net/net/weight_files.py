"""Weights on disk: reads `.pth`, `.onnx` and our own `.safetensors`, and writes the last.

In every format weights are read as numbers alone: nothing is unpickled, no other file is opened, and every key, shape
and value is checked before a network is returned.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from u2net.errors import InvalidModel
from u2net.models.card import METADATA_KEY, Card
from u2net.net.checkpoint import (
    NUM_NAMED,
    Checkpoint,
    build,
    describe,
    differences,
    digest,
    paper_table,
    portable,
    skeleton,
    to_authors_key,
)
from u2net.net.model import VARIANTS, Stage, U2Net
from u2net.net.onnx_import import load_onnx
from u2net.system.files import atomic_write

TABLE_KEY = "u2net.table"
"""Metadata key of our safetensors files: the network's stages and number of classes, as JSON."""

_MAX_HEADER_BYTES = 2**20  # of a safetensors file; ours take a tenth of it
_MAX_ENTRIES = 10_000  # of a .pth; U²-Net's has 800
_MAX_ROWS, _MAX_HEIGHT, _MAX_CHANNELS = 31, 16, 2**14  # of a table read from a file


def load_checkpoint(path: str | PathLike[str], stages: Sequence[Stage] | None = None) -> Checkpoint:
    """Read our `.safetensors`, the ONNX file of a U²-Net, or a `.pth` with the authors' keys or our own.

    Widths are read from the shapes of the weights; `stages` gives the whole table for `.pth` and `.onnx` files whose
    heights are not the paper's. A `.pth` may lack `num_batches_tracked` and may have `module.` before its keys.
    Raises InvalidModel for a file that is damaged, unsafe or does not fit (with the first five wrong keys), OSError for
    a file that cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".onnx":
            return load_onnx(path, stages)
        if path.suffix.lower() == ".safetensors":
            return _load_safetensors(path)
        return _load_pth(path, stages)
    except InvalidModel as error:
        raise InvalidModel(f"{path.name}: {error}") from None


def save_checkpoint(network: U2Net, path: str | PathLike[str], card: Card) -> Card:
    """Write weights, table and card as safetensors, atomically; return the card as written (see `describe`).

    Raises InvalidModel for weights that are not finite, OSError if `path` cannot be written; it is then as it was.
    """
    state = {key: portable(value) for key, value in network.state_dict().items()}
    spoilt = [key for key, value in state.items() if not value.isfinite().all()]
    if spoilt:
        raise InvalidModel(f"weights that are not finite are not saved: {', '.join(spoilt[:NUM_NAMED])}")
    card = describe(network, card)
    table = json.dumps({"stages": network.stages, "num_classes": network.num_classes})
    content = save(state, {METADATA_KEY: card.to_json(), TABLE_KEY: table})
    with atomic_write(path) as file:
        file.write(content)
    return card


def _load_safetensors(path: Path) -> Checkpoint:
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > _MAX_HEADER_BYTES:
            raise InvalidModel("damaged, or not a safetensors file of ours")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError:
        raise InvalidModel("damaged, or not a safetensors file") from None
    if METADATA_KEY not in metadata or TABLE_KEY not in metadata:
        raise InvalidModel("has no model card: it was not written by this package")
    try:
        card = Card.from_json(metadata[METADATA_KEY])
        network = build(state, *_read_table(metadata[TABLE_KEY]))
    except ValueError as error:
        raise InvalidModel(str(error)) from None
    if digest(state) != card.sha256:
        raise InvalidModel("the weights are not those that were saved: their SHA-256 differs from the card's")
    return Checkpoint(network, card)


def _read_table(text: str) -> tuple[tuple[Stage, ...], int]:
    """Stages and number of classes, small enough that building the network costs nothing to speak of."""
    try:
        table = json.loads(text)
        stages = tuple(Stage(*row) for row in table["stages"])
        num_classes = table["num_classes"]
        numbers = [number for stage in stages for number in (stage.c_in, stage.c_mid, stage.c_out)]
        fits = (
            len(stages) <= _MAX_ROWS
            and all(type(stage.height) is int and 2 <= stage.height <= _MAX_HEIGHT for stage in stages)
            and all(type(n) is int and 1 <= n <= _MAX_CHANNELS for n in (*numbers, num_classes))
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        fits = False
    if not fits:
        raise InvalidModel("its table of stages is damaged")
    return stages, num_classes


def _load_pth(path: Path, stages: Sequence[Stage] | None) -> Checkpoint:
    """Read with `weights_only=True`; what torch lets through even so, to fill the memory, is refused before."""
    with path.open("rb") as file:  # what fails after this is the content
        try:
            state = torch.load(_without_bombs(file), map_location="cpu", weights_only=True)
        except InvalidModel:
            raise
        except Exception as error:  # nine classes have been seen on damaged files
            raise InvalidModel("damaged, or not a file of plain weights") from error
    if not (isinstance(state, dict) and state and all(_is_plain(value) for value in state.values())):
        raise InvalidModel("does not hold a state dict of tensors")
    if sum(value.nbytes for value in state.values()) > path.stat().st_size:
        raise InvalidModel("claims to hold more than it does")  # strides of 0 cost nothing in a file
    state = {str(key).removeprefix("module."): value for key, value in state.items()}
    if "encoder.0.conv_in.conv.weight" in state:  # saved from our own class
        ours = re.compile(r"(encoder|decoder|sides|fuse)\.")
        state = {to_authors_key(key) if ours.match(key) else key: value for key, value in state.items()}
    side = state.get("side1.weight")
    num_classes = max(1, len(side)) if side is not None and side.ndim else 1
    if stages is None:
        stages = _nearest_table(state, num_classes)
    for key in skeleton(stages, num_classes).state_dict():
        if key.endswith("num_batches_tracked"):  # torch before 0.4.1 had none
            state.setdefault(to_authors_key(key), torch.tensor(0))
    network = build(state, stages, num_classes, to_authors_key)
    return Checkpoint(network, describe(network, Card(name=path.stem)))


def _is_plain(value: object) -> bool:
    """Whether it is an ordinary tensor with all of its numbers in this file."""
    return (
        isinstance(value, Tensor)
        and not value.is_nested
        and value.layout == torch.strided
        and value.device.type == "cpu"
    )


def _without_bombs(file: BinaryIO) -> BinaryIO:
    """What torch may read in the file's place. Raises InvalidModel for what could only be there to fill the memory.

    An archive is written anew: zipfile and torch may find different entries in one that was made for it.
    """
    is_archive = file.read(4) == b"PK\3\4"  # so torch tells
    file.seek(0)
    if is_archive:
        file = _rewritten(file)
        with zipfile.ZipFile(file) as archive:
            pickles = [archive.read(name) for name in archive.namelist() if name.endswith("data.pkl")]
        streams: list[BinaryIO] = [io.BytesIO(content) for content in pickles]
    else:
        streams = [file] * 5  # magic number, version, system, state dict, order of the storages
    for stream in streams:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL" and str(argument).endswith(" bytearray"):  # torch lets it ask for any size
                raise InvalidModel("holds a bytearray")
    file.seek(0)
    return file


def _rewritten(file: BinaryIO) -> BinaryIO:
    """The entries of an archive as zipfile reads them, in a new one in memory, which takes no more than the file."""
    _limit_entries(file)
    copy = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(copy, "w") as written:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise InvalidModel("holds compressed entries, which torch never writes")
        if sum(entry.file_size for entry in entries) > os.fstat(file.fileno()).st_size:
            raise InvalidModel("holds entries that overlap, which torch never writes")
        if len({entry.filename for entry in entries}) < len(entries):
            raise InvalidModel("holds entries of the same name, which torch never writes")
        for entry in entries:
            written.writestr(entry.filename, archive.read(entry))
    return copy


def _limit_entries(file: BinaryIO) -> None:
    """Raise InvalidModel for more entries than any network has, before zipfile makes an object of each."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position = -1
        for _ in range(_MAX_ENTRIES):
            position = content.find(b"PK\1\2", position + 1)  # how each line of an archive's directory begins
            if position < 0:
                return
    raise InvalidModel(f"holds more than {_MAX_ENTRIES} entries")


def _nearest_table(state: Mapping[str, Tensor], num_classes: int) -> tuple[Stage, ...]:
    """The paper's heights with the file's widths; if that is no network, the variant that differs least."""
    tables = list(VARIANTS.values())
    try:
        table = paper_table(lambda key: state[to_authors_key(key)].shape)
        network = skeleton(table, num_classes)
        tables.insert(0, table)
        if not differences(state, network, to_authors_key):
            return table
    except (KeyError, ValueError, IndexError):
        pass
    return min(tables, key=lambda table: len(differences(state, skeleton(table, num_classes), to_authors_key)))
