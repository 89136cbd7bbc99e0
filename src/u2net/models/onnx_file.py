"""What must be known of an ONNX file before a runtime opens it, read without the onnx package.

ONNX is a protocol-buffers message. The few fields that matter are found by walking the wire format; weights are
stepped over, so a file of any size costs next to nothing.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Self

from u2net.errors import InvalidModel
from u2net.models.card import INSIDE_KEY, METADATA_KEY, PAIRS_KEY, PRECISION_KEY, Card

# Message type -> field number -> message type of that field, from onnx.proto (ONNX IR version 13). Only the
# paths on which a tensor or the metadata can stand are listed.
_SCHEMA: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 14: "Entry", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "External"},
}
_GRAPH, _TENSOR_LOCATION, _DEFAULT = 7, 14, 0
_MAX_DEPTH, _MAX_FIELDS = 32, 250_000  # of a file; those of U²-Nets have 10,000 to 30,000


@dataclass(frozen=True)
class OnnxFile:
    """A sound ONNX file and its metadata, which was read once."""

    path: Path
    metadata: dict[str, str]

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Self:
        """Look at a file; raises as `read_metadata` does, and InvalidModel for one that takes pictures as they are."""
        path, metadata = Path(path), read_metadata(path)
        if metadata.get(INSIDE_KEY) == "preprocessing":
            raise InvalidModel(f"{path.name} was exported with its preprocessing, for other programs: take one without")
        return cls(path, metadata)

    @property
    def is_int8(self) -> bool:
        """Whether the network in it computes with integers."""
        return self.metadata.get(PRECISION_KEY) == "int8"

    @property
    def is_for_any_processor(self) -> bool:
        """Whether its integers are as good without VNNI; those that 0.1.0 wrote are not."""
        return self.metadata.get(PAIRS_KEY) == "16 bits"

    @property
    def has_card(self) -> bool:
        """Whether it says itself what it holds."""
        return METADATA_KEY in self.metadata

    def card(self, default: Card | None = None) -> Card:
        """The card in the file, else the default, else one with the authors' Transform.

        Raises InvalidModel if the file's card is damaged.
        """
        if not self.has_card:
            return default or Card(name=self.path.stem)
        try:
            return Card.from_json(self.metadata[METADATA_KEY])
        except ValueError as error:
            raise InvalidModel(f"{self.path.name}: {error}") from None


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The metadata of an ONNX file, after making sure that it is one and holds all of its weights itself.

    Raises InvalidModel for anything that is not an ONNX model and for weights kept in other files: those could
    name any file of the machine. Raises OSError if the file cannot be read.
    """
    path = Path(path)
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise InvalidModel(f"{path.name} is empty, not an ONNX model") from None
    with content:
        metadata: dict[str, str] = {}
        try:
            has_graph = _walk(Reader(content), range(len(content)), "Model", metadata, depth=0)
        except (Malformed, UnicodeDecodeError):
            raise InvalidModel(f"{path.name} is damaged or not an ONNX model") from None
        except _ExternalData:
            raise InvalidModel(f"{path.name} keeps weights in other files, which is refused") from None
    if not has_graph:
        raise InvalidModel(f"{path.name} is not an ONNX model")
    return metadata


class Malformed(Exception):
    """The bytes are not the message they should be."""


class _ExternalData(Exception):
    """A tensor names another file."""


def _walk(reader: Reader, message: range, kind: str, metadata: dict[str, str], depth: int) -> bool:
    """Visit every tensor below; collect the model's metadata; say whether a graph was seen at this level.

    A message is the range of its bytes in the file.
    """
    if depth > _MAX_DEPTH:
        raise Malformed
    children = _SCHEMA[kind]
    has_graph = False
    for field, value in reader.fields(message):
        if kind == "Tensor" and (field in children or (field == _TENSOR_LOCATION and value != _DEFAULT)):
            raise _ExternalData
        if field not in children:
            continue
        if isinstance(value, int):
            raise Malformed
        if children[field] == "Entry":
            texts = {f: reader.text(v) for f, v in reader.fields(value) if isinstance(v, range)}
            metadata[texts.get(1, "")] = texts.get(2, "")
        else:
            has_graph |= field == _GRAPH
            _walk(reader, value, children[field], metadata, depth + 1)
    return has_graph


class Reader:
    """Steps through the messages of a file, through a bounded number of fields in all."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self._left = _MAX_FIELDS

    def text(self, part: range) -> str:
        """What a field says. Raises UnicodeDecodeError."""
        return str(self.content[part.start : part.stop], "utf-8")

    def varints(self, part: range) -> Iterator[int]:
        """Packed numbers."""
        position = part.start
        while position < part.stop:
            self._left -= 1
            if self._left < 0:
                raise Malformed
            number, position = _varint(self.content, position, part.stop)
            yield number

    def fields(self, message: range) -> Iterator[tuple[int, int | range]]:
        """Number and value of each field: numbers as they are, all that has a length as the range of its bytes."""
        content = self.content
        position = message.start
        while position < message.stop:
            self._left -= 1
            if self._left < 0:
                raise Malformed
            tag, position = _varint(content, position, message.stop)
            if tag >= 2**32:  # parsers drop the upper bits and see another field
                raise Malformed
            field, wire_type = tag >> 3, tag & 7
            if wire_type == 0:
                number, position = _varint(content, position, message.stop)
                yield field, number
                continue
            if wire_type == 2:
                length, position = _varint(content, position, message.stop)
            elif wire_type in (1, 5):
                length = 8 if wire_type == 1 else 4
            else:
                raise Malformed
            if length > message.stop - position:
                raise Malformed
            yield field, range(position, position + length)
            position += length


def _varint(content: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    """A base-128 number and the position behind it."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= stop:
            raise Malformed
        byte = content[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise Malformed
