"""What all weight files have in common: keys, tables, digests, and the check of every number."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from u2net.errors import InvalidModel
from u2net.models.card import Card
from u2net.net.model import U2NET, Stage, U2Net

NUM_NAMED = 5
"""The number of wrong keys that an error names."""


class Checkpoint(NamedTuple):
    """A network in evaluation mode, on the CPU, and what is known of its weights."""

    network: U2Net
    card: Card


def describe(network: U2Net, card: Card) -> Card:
    """The card with the digest and the number of this network's parameters."""
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    return replace(card, sha256=digest(network.state_dict()), num_parameters=num_parameters)


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of the names and values of weights and running statistics; counters are left out."""
    total = hashlib.sha256()
    for key in sorted(state):
        if not key.endswith("num_batches_tracked"):
            total.update(key.encode())
            total.update(portable(state[key]).numpy().data)
    return total.hexdigest()


def portable(value: Tensor) -> Tensor:
    """A tensor as files hold it: on the CPU, and in float32 if its numbers have a point."""
    value = value.detach().cpu().contiguous()
    return value.float() if value.is_floating_point() else value


def to_authors_key(key: str) -> str:
    """The authors' name of one of our state-dict keys, from its text alone.

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
)  # levels and stages count from 0 here and from 1 there: "+1" is added in the end


def paper_table(weight_shape: Callable[[str], Sequence[int]]) -> tuple[Stage, ...]:
    """The table with the paper's heights, and with widths from the shapes of weights, `weight_shape(key)`."""
    rows = []
    for row, (height, dilated, *_) in enumerate(U2NET):
        stage = f"encoder.{row}" if row < 6 else f"decoder.{len(U2NET) - 1 - row}"
        c_out, c_in = weight_shape(f"{stage}.conv_in.conv.weight")[:2]
        c_mid = weight_shape(f"{stage}.encoder.0.conv.weight")[0]
        rows.append(Stage(height, dilated, c_in, c_mid, c_out))
    return tuple(rows)


def skeleton(stages: Sequence[Stage], num_classes: int) -> U2Net:
    """A network without storage, for its keys and shapes. Raises ValueError for an impossible table."""
    with torch.device("meta"):
        return U2Net(stages, num_classes)


def build(
    state: Mapping[str, Tensor], stages: Sequence[Stage], num_classes: int, file_key: Callable[[str], str] = str
) -> U2Net:
    """The network of this table with these weights; `file_key` translates our keys to those of `state`.

    Raises InvalidModel with the first five keys that are missing, unknown, of another shape or type, or not finite.
    """
    network = skeleton(stages, num_classes)
    problems = differences(state, network, file_key)
    if problems:
        more = f"; and {len(problems) - NUM_NAMED} more" if len(problems) > NUM_NAMED else ""
        raise InvalidModel(f"the weights do not fit: {'; '.join(problems[:NUM_NAMED])}{more}")
    network.load_state_dict({key: state[file_key(key)] for key in network.state_dict()}, assign=True)
    return network.eval()


def differences(state: Mapping[str, Tensor], network: U2Net, file_key: Callable[[str], str]) -> list[str]:
    """A line for each key of `state` that is wrong or missing, in the network's order, then for unknown keys."""
    expected = {file_key(key): value for key, value in network.state_dict().items()}
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
