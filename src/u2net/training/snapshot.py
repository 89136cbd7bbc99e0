"""The state of a run on disk: folders that appear whole, and are read only when their digests prove them sound."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from u2net.system import sync

_SUMS = "SHA256SUMS"
_STATE = "state.safetensors"
_FACTS = "u2net.run"
_NAME = re.compile(r"step-\d{8,}")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Snapshot:
    """What a run was at a step."""

    step: int
    tensors: dict[str, Tensor]
    """Weights, averages, moments, random state: all that the next step depends on."""
    facts: dict[str, Any]
    """The same of what is not a tensor, as JSON has it."""


def save_snapshot(folder: Path, snapshot: Snapshot, also: Callable[[Path], object], keep: int) -> Path:
    """Write `step-N` in `folder`, then leave it and the newest before it there, `keep` in all; `also` adds files to it.

    A snapshot of that name is replaced, and those of later steps are deleted: a run that comes to an earlier one had to
    pass them over. Where the disk is full, others make room, but for the newest that is proven good. Raises OSError if
    there is none even so; that one is still there then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.part"):
        shutil.rmtree(leftover)
    try:
        path = _write(folder, snapshot, also)
    except OSError as error:
        listed = _listed(folder)
        proven = next((path for path in reversed(listed) if _is_sound(path)), None)
        if error.errno not in _FULL or proven is None or listed == [proven]:
            raise
        _delete(listed, but=[proven])
        path = _write(folder, snapshot, also)
    listed = _listed(folder)
    upto = listed.index(path) + 1
    _delete(listed, but=listed[:upto][-keep:])
    return path


def load_newest(folder: Path, warn: Callable[[str], object]) -> Snapshot | None:
    """The newest snapshot that is as it was written, or None; each that is not gets a line through `warn`."""
    for path in reversed(_listed(folder)):
        try:
            _verify(path)
            return _read(path)
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            warn(f"{path.name} is damaged and passed over: {reason}")
    return None


def _write(folder: Path, snapshot: Snapshot, also: Callable[[Path], object]) -> Path:
    path = folder / f"step-{snapshot.step:08d}"
    temporary = folder / f".{secrets.token_hex(8)}.part"
    try:
        temporary.mkdir()
        tensors = {key: value.detach().cpu().contiguous() for key, value in snapshot.tensors.items()}
        facts = json.dumps({"step": snapshot.step, **snapshot.facts})
        save_file(tensors, temporary / _STATE, {_FACTS: facts})
        also(temporary)
        names = sorted(file.name for file in temporary.iterdir())
        sums = "".join(f"{_digest(temporary / name)}  {name}\n" for name in names)
        (temporary / _SUMS).write_text(sums)
        for name in (*names, _SUMS):
            sync(temporary / name)
        sync(temporary)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
        sync(folder)
    except SafetensorError as error:  # its way of saying that the disk is full
        raise OSError(errno.ENOSPC, str(error)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def _verify(path: Path) -> None:
    """Raise ValueError or OSError unless every file of a snapshot is as its digest says."""
    sums = [line.partition("  ") for line in (path / _SUMS).read_text().splitlines()]
    if _STATE not in [name for _, _, name in sums]:
        raise ValueError(f"{_SUMS} does not list {_STATE}")
    for expected, _, name in sums:
        if _digest(path / name) != expected:
            raise ValueError(f"{name} is not what was written")


def _is_sound(path: Path) -> bool:
    try:
        _verify(path)
    except (OSError, ValueError):
        return False
    return True


def _read(path: Path) -> Snapshot:
    with safe_open(path / _STATE, framework="pt") as file:
        facts = json.loads(file.metadata()[_FACTS])
        # Clones, since what is mapped goes when the file does: on some file systems with a bus error.
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - it is no mapping
    return Snapshot(facts.pop("step"), tensors, facts)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(folder: Path) -> list[Path]:
    """The snapshots in a folder, the oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _delete(paths: list[Path], but: list[Path]) -> None:
    """Delete snapshots but for some."""
    for path in paths:
        if path not in but:
            shutil.rmtree(path)


def flatten(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of several owners in one mapping, `owner/name`."""
    return {f"{owner}/{name}": value for owner, state in states.items() for name, value in state.items()}


def unflatten(tensors: Mapping[str, Tensor], owner: str) -> dict[str, Tensor]:
    """One owner's tensors out of what `flatten` made."""
    prefix = f"{owner}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments and counters, `index.name`; rates and the like follow from the configuration."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what `optimizer_tensors` took."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:  # fused kernels ask for moments that lie in memory as weights do
            value = torch.empty_like(parameter).copy_(value)
        whole["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(whole)
