"""Weights on disk: the authors' `.pth`, published ONNX files, and our own safetensors with its card.

Whatever the format, weights are only ever read as numbers: nothing is unpickled, no other file is opened, and
every key, shape and value is checked before a network is returned.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from u2net.errors import InvalidModel
from u2net.models.card import METADATA_KEY, Card
from u2net.net.model import U2NET, Stage, U2Net
from u2net.system import atomic_write

TABLE_KEY = "u2net.table"
"""Metadata key of our safetensors files: the network's stages and number of classes, as JSON."""

_MAX_HEADER_BYTES = 2**20  # of a safetensors file; ours take a tenth of it
_MAX_ROWS, _MAX_HEIGHT, _MAX_CHANNELS = 31, 16, 2**14  # of a table read from a file
_NUM_NAMED = 5  # differing keys that an error names


class Checkpoint(NamedTuple):
    """A network in evaluation mode, on the CPU, and what is known of its weights."""

    network: U2Net
    card: Card


def load_checkpoint(path: str | PathLike[str], stages: Sequence[Stage] | None = None) -> Checkpoint:
    """Read our `.safetensors`, the ONNX file of a U²-Net, or a `.pth` with the authors' keys or our own.

    The table of the network is read from the weights' shapes; `stages` gives it for `.pth` and `.onnx` files
    whose heights are not the paper's. A `.pth` may lack `num_batches_tracked` and may have `module.` before
    its keys. Raises InvalidModel for what is damaged, unsafe, or does not fit (the first five differing keys
    are named), OSError for a file that cannot be read.
    """
    from u2net.net.onnx_import import load_onnx  # these two build upon this module
    from u2net.net.pth import load_pth

    path = Path(path)
    try:
        if path.suffix.lower() == ".onnx":
            return load_onnx(path, stages)
        if path.suffix.lower() == ".safetensors":
            return _load_safetensors(path)
        return load_pth(path, stages)
    except InvalidModel as error:
        raise InvalidModel(f"{path.name}: {error}") from None


def save_checkpoint(network: U2Net, path: str | PathLike[str], card: Card) -> Card:
    """Write weights, table and card as safetensors, atomically; return the card as written (see `describe`).

    Raises InvalidModel for weights that are not finite, OSError if `path` cannot be written; it is then as it was.
    """
    state = {key: _portable(value) for key, value in network.state_dict().items()}
    spoilt = [key for key, value in state.items() if not value.isfinite().all()]
    if spoilt:
        raise InvalidModel(f"weights that are not finite are not saved: {', '.join(spoilt[:_NUM_NAMED])}")
    card = describe(network, card)
    table = json.dumps({"stages": network.stages, "num_classes": network.num_classes})
    content = save(state, {METADATA_KEY: card.to_json(), TABLE_KEY: table})
    with atomic_write(path) as file:
        file.write(content)
    return card


def describe(network: U2Net, card: Card) -> Card:
    """The card with this network's weights digested and its parameters counted."""
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    return replace(card, sha256=digest(network.state_dict()), num_parameters=num_parameters)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, over names and values of weights and running statistics; counters are left out."""
    total = hashlib.sha256()
    for key in sorted(state):
        if not key.endswith("num_batches_tracked"):
            total.update(key.encode())
            total.update(_portable(state[key]).numpy().data)
    return total.hexdigest()


def _portable(value: Tensor) -> Tensor:
    """On the CPU and, of numbers with a point, in float32: as every file holds them."""
    value = value.detach().cpu().contiguous()
    return value.float() if value.is_floating_point() else value


def to_authors_key(key: str) -> str:
    """The authors' name of one of our state-dict keys, by its text alone.

    Example: "decoder.0.encoder.6.norm.bias" is their "stage1d.rebnconv7.bn_s1.bias".
    """
    for pattern, replacement in _KEY_RULES:
        key = re.sub(pattern, replacement, key)
    return re.sub(r"(\d+)\+1", lambda match: str(int(match[1]) + 1), key)


_KEY_RULES = (
    (r"^encoder\.(\d+)", r"stage\1+1"),
    (r"^decoder\.(\d+)", r"stage\1+1d"),
    (r"^sides\.(\d+)", r"side\1+1"),
    (r"^fuse", "outconv"),
    (r"\.conv_in\.", ".rebnconvin."),
    (r"\.encoder\.(\d+)", r".rebnconv\1+1"),
    (r"\.decoder\.(\d+)", r".rebnconv\1+1d"),
    (r"\.conv\.", ".conv_s1."),
    (r"\.norm\.", ".bn_s1."),
)  # levels and stages count from 0 here and from 1 there: "+1" is added up in the end


def paper_table(weight_shape: Callable[[str], Sequence[int]]) -> tuple[Stage, ...]:
    """The table with the paper's heights and the widths of the weights whose shapes `weight_shape(key)` tells."""
    rows = []
    for row, (height, dilated, *_) in enumerate(U2NET):
        stage = f"encoder.{row}" if row < 6 else f"decoder.{len(U2NET) - 1 - row}"
        c_out, c_in = weight_shape(f"{stage}.conv_in.conv.weight")[:2]
        c_mid = weight_shape(f"{stage}.encoder.0.conv.weight")[0]
        rows.append(Stage(height, dilated, c_in, c_mid, c_out))
    return tuple(rows)


def build(
    state: dict[str, Tensor],
    stages: Sequence[Stage],
    num_classes: int,
    file_key: Callable[[str], str] = str,
) -> U2Net:
    """The network of this table with these weights; `file_key` translates our keys to those of `state`.

    Raises InvalidModel naming the first five keys that are missing, unknown, misshapen, of another type, or not
    finite.
    """
    problems = differences(state, stages, num_classes, file_key)
    if problems:
        named = "; ".join(problems[:_NUM_NAMED])
        more = f"; and {len(problems) - _NUM_NAMED} more" if len(problems) > _NUM_NAMED else ""
        raise InvalidModel(f"the weights do not fit: {named}{more}")
    network = skeleton(stages, num_classes)
    network.load_state_dict({key: state[file_key(key)] for key in network.state_dict()}, assign=True)
    return network.eval()


def skeleton(stages: Sequence[Stage], num_classes: int) -> U2Net:
    """A network without storage, for its keys and shapes. Raises ValueError for an impossible table."""
    with torch.device("meta"):
        return U2Net(stages, num_classes)


def differences(
    state: Mapping[str, Tensor], stages: Sequence[Stage], num_classes: int, file_key: Callable[[str], str]
) -> list[str]:
    """What is wrong with each key of `state` or missing from it, in the network's order, strangers last."""
    expected = {file_key(key): value for key, value in skeleton(stages, num_classes).state_dict().items()}
    problems = []
    for key, wanted in expected.items():
        found = state.get(key)
        if found is None:
            problems.append(f"{key} is missing")
        elif found.shape != wanted.shape:
            problems.append(f"{key} is {tuple(found.shape)}, not {tuple(wanted.shape)}")
        elif found.dtype != wanted.dtype:
            problems.append(f"{key} is {found.dtype}, not {wanted.dtype}".replace("torch.", ""))
        elif not found.isfinite().all():
            problems.append(f"{key} is not finite")
    return problems + [f"{ascii(key)[1:-1]} is unknown" for key in state if key not in expected]


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
    except InvalidModel:
        raise
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
