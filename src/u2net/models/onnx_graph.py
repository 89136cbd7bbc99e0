"""The nodes of an ONNX graph and the shapes of its constants, read from the wire format without the onnx package."""

from __future__ import annotations

import heapq
import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from u2net.errors import InvalidModel
from u2net.models.onnx_file import Malformed, Reader

_MAX_NODES = 10_000  # U²-Nets have about a thousand
SMALL = 256
"""Numbers in a constant whose value is read: shapes are made of such."""

TYPES = {1: np.float32, 6: np.int32, 7: np.int64, 11: np.float64}
"""What shapes are computed with, by ONNX's numbers."""


@dataclass
class Node:
    """An operation, with its domain before it unless that is ONNX's own, and its attributes."""

    operation: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    """Of the tensor in it, if it is a Constant; `value` too, if it is small."""
    value: NDArray[Any] | None = None

    def numbers(self, name: str, default: list[int]) -> list[int]:
        """An attribute that is a list of whole numbers."""
        return list(self.attributes.get(name, default))

    def number(self, name: str, default: int = 0) -> int:
        """An attribute that is a whole number."""
        return int(self.attributes.get(name, default))

    def text(self, name: str) -> str:
        """An attribute that is a text."""
        return str(self.attributes.get(name, ""))


@dataclass
class Graph:
    """A graph that has no graphs inside it."""

    nodes: list[Node] = field(default_factory=list)
    """Each behind those whose results it takes."""
    inputs: set[str] = field(default_factory=set)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Of its constants; `values` of those that are small."""
    values: dict[str, NDArray[Any]] = field(default_factory=dict)


def read_graph(path: Path) -> Graph:
    """The graph of a file that `u2net.models.onnx_file.read_metadata` has found to be sound.

    Raises InvalidModel for one that has functions, names twice, a circle of nodes, or constants that claim more than
    the file holds.
    """
    graph = Graph()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        reader = Reader(content)
        try:
            for number, part in reader.fields(range(len(content))):
                if number == 7:
                    _read(reader, _range(part), graph)
                elif number == 25:
                    raise InvalidModel(f"{path.name} has functions, which is refused: U²-Nets do not need them")
            graph.nodes = list(_in_order(graph.nodes))
        except (Malformed, UnicodeDecodeError, struct.error, ValueError) as error:
            if isinstance(error, InvalidModel):
                raise
            raise InvalidModel(f"{path.name} is damaged or not an ONNX model") from None
    graph.inputs -= graph.shapes.keys()
    return graph


def _read(reader: Reader, message: range, graph: Graph) -> None:
    for number, part in reader.fields(message):
        if number == 1:
            if len(graph.nodes) == _MAX_NODES:
                raise Malformed
            graph.nodes.append(_node(reader, _range(part)))
        elif number == 5:
            name, shape, value = _tensor(reader, _range(part))
            if name in graph.shapes:
                raise Malformed
            graph.shapes[name] = shape
            if value is not None:
                graph.values[name] = value
        elif number == 11:
            graph.inputs |= {reader.text(_range(p)) for n, p in reader.fields(_range(part)) if n == 1}
        elif number == 15:  # sparse: no exporter of networks writes them
            raise Malformed


def _in_order(nodes: list[Node]) -> Iterator[Node]:
    """As they stand, but each behind those whose results it takes: some converters put theirs at the end.

    Raises ValueError for a circle.
    """
    makers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            makers.setdefault(name, index)
    sorter = TopologicalSorter(
        {index: {makers[name] for name in node.inputs if name in makers} for index, node in enumerate(nodes)}
    )
    sorter.prepare()
    ready = sorted(sorter.get_ready())
    while ready:
        index = heapq.heappop(ready)
        yield nodes[index]
        sorter.done(index)
        for other in sorter.get_ready():
            heapq.heappush(ready, other)


def _node(reader: Reader, message: range) -> Node:
    node = Node()
    domain = ""
    for number, part in reader.fields(message):
        if number == 1:
            node.inputs.append(reader.text(_range(part)))
        elif number == 2:
            node.outputs.append(reader.text(_range(part)))
        elif number == 4:
            node.operation = reader.text(_range(part))
        elif number == 7:
            domain = reader.text(_range(part))
        elif number == 5:
            _read_attribute(reader, _range(part), node)
    if domain not in ("", "ai.onnx"):
        node.operation = f"{domain}.{node.operation}"
    return node


def _read_attribute(reader: Reader, message: range, node: Node) -> None:
    name, found, ints, floats = "", None, [], []
    for number, part in reader.fields(message):
        if number == 1:
            name = reader.text(_range(part))
        elif number == 2:
            found = struct.unpack("<f", reader.content[_range(part).start : _range(part).stop])[0]
        elif number == 3:
            found = _signed(part)
        elif number == 4:
            found = reader.text(_range(part))
        elif number == 5:
            if node.attributes.get("value", node.value) is not None:
                raise Malformed
            _, node.shape, node.value = _tensor(reader, _range(part))
            found = node.shape
        elif number == 7:
            floats += np.frombuffer(reader.content[_range(part).start : _range(part).stop], np.float32).tolist()
        elif number == 8:
            ints += _varints(reader, part)
    if name in node.attributes:  # of two, a runtime might take the other
        raise Malformed
    node.attributes[name] = ints or floats or found
    if node.operation in ("", "Constant") and name.startswith("value_") and node.attributes[name] is not None:
        node.value = np.asarray(node.attributes[name])
        node.shape = node.value.shape


def _tensor(reader: Reader, message: range) -> tuple[str, tuple[int, ...], NDArray[Any] | None]:
    """Name, shape and, if it is small and of a kind that shapes are made of, value."""
    name, kind, dims, data, num_bytes = "", 0, [], [], 0
    for number, part in reader.fields(message):
        if number == 1:
            dims += _varints(reader, part)
        elif number == 2:
            kind = part if isinstance(part, int) else 0
        elif number == 8:
            name = reader.text(_range(part))
        elif number in (4, 5, 6, 7, 9, 10, 11):
            num_bytes += len(part) if isinstance(part, range) else 1
            data.append((number, part))
    size = math.prod(dims)
    if min(dims, default=0) < 0 or size > 2 * num_bytes:  # four bits are the least that a number takes
        raise Malformed
    if size > SMALL or kind not in TYPES:
        return name, tuple(dims), None
    numbers: list[Any] = []
    for number, part in data:
        if number in (5, 7):
            numbers += _varints(reader, part)
        elif isinstance(part, range):
            numbers += np.frombuffer(reader.content[part.start : part.stop], TYPES[kind]).tolist()
    return name, tuple(dims), np.array(numbers, TYPES[kind]).reshape(dims)


def _varints(reader: Reader, part: int | range) -> list[int]:
    """Whole numbers, packed or one alone."""
    if isinstance(part, int):
        return [_signed(part)]
    return [_signed(number) for number in reader.varints(part)]


def _signed(number: int | range) -> int:
    if isinstance(number, range):
        raise Malformed
    return number - 2**64 if number >= 2**63 else number


def _range(part: int | range) -> range:
    if isinstance(part, int):
        raise Malformed
    return part
