"""U²-Net read from a `.pth`: the authors' files, and state dicts saved from our own class.

torch reads them with `weights_only=True`; what that still lets through, to fill the memory, is refused before.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from u2net.errors import InvalidModel
from u2net.models.card import Card
from u2net.net.checkpoint import Checkpoint, build, describe, differences, paper_table, skeleton, to_authors_key
from u2net.net.model import VARIANTS, Stage


def load_pth(path: Path, stages: Sequence[Stage] | None = None) -> Checkpoint:
    """The network of a `.pth`, as `u2net.net.load_checkpoint` describes."""
    with path.open("rb") as file:  # what fails after this is the content
        try:
            _refuse_bombs(file)
            file.seek(0)
            state = torch.load(file, map_location="cpu", weights_only=True)
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
        state = {_translated(key): value for key, value in state.items()}
    side = state.get("side1.weight")
    num_classes = max(1, len(side)) if side is not None and side.ndim else 1
    if stages is None:
        stages = _nearest_table(state, num_classes)
    for key in skeleton(stages, num_classes).state_dict():
        if key.endswith("num_batches_tracked"):  # torch before 0.4.1 had none
            state.setdefault(to_authors_key(key), torch.tensor(0))
    network = build(state, stages, num_classes, to_authors_key)
    return Checkpoint(network, describe(network, Card(name=path.stem)))


def _translated(key: str) -> str:
    """The authors' key; of a text that is no key of ours, itself."""
    return to_authors_key(key) if re.match(r"(encoder|decoder|sides|fuse)\.", key) else key


def _is_plain(value: object) -> bool:
    """Whether it is an ordinary tensor with all of its numbers in this file."""
    return (
        isinstance(value, Tensor)
        and not value.is_nested
        and value.layout == torch.strided
        and value.device.type == "cpu"
    )


def _refuse_bombs(file: BinaryIO) -> None:
    """Raise InvalidModel for what could only be there to fill the memory."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise InvalidModel("holds compressed entries, which torch never writes")
            if sum(entry.file_size for entry in entries) > os.fstat(file.fileno()).st_size:
                raise InvalidModel("holds entries that overlap, which torch never writes")
            pickles = [archive.read(entry) for entry in entries if entry.filename.endswith("data.pkl")]
        streams: list[BinaryIO] = [io.BytesIO(content) for content in pickles]
    else:
        file.seek(0)
        streams = [file] * 5  # magic number, version, system, state dict, order of the storages
    for stream in streams:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL" and str(argument).endswith(" bytearray"):  # torch lets it ask for any size
                raise InvalidModel("holds a bytearray")


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
