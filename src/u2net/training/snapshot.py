"""The state of a run, and its snapshots on disk: folders that appear whole and are only read if their digests match."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from u2net.errors import InvalidModel
from u2net.net.model import U2Net
from u2net.system.files import folder_beside, parts, sha256_of, sync
from u2net.training.config import TrainConfig
from u2net.training.optimizer import Average, freeze, new_optimizer
from u2net.training.parallel import World, find_layout

_SUMS = "SHA256SUMS"
_STATE = "state.safetensors"
_FACTS = "u2net.run"
_NAME = re.compile(r"step-\d{8,}")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Snapshot:
    """A run after a step."""

    step: int
    tensors: dict[str, Tensor]
    """Weights, averages, moments, random state: everything that the next step depends on."""
    facts: dict[str, Any]
    """The rest of that, as JSON values."""


def save_snapshot(folder: Path, snapshot: Snapshot, also: Callable[[Path], object], keep: int) -> Path:
    """Write `step-N` in `folder` and keep it and the newest before it, `keep` in all; `also` adds files to it.

    One of the same step or of a later one is set aside. If the disk is full, those older than the newest sound one are
    deleted to make room. Raises OSError if that is not enough; the sound one is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in parts(folder):
        shutil.rmtree(leftover, ignore_errors=True)
    set_aside(folder, snapshot.step)
    try:
        path = _write(folder, snapshot, also)
    except OSError as error:
        found = listed(folder)
        older = next((found[:index] for index in reversed(range(len(found))) if _is_sound(found[index])), [])
        if error.errno not in _FULL or not older:
            raise
        _delete(older)
        path = _write(folder, snapshot, also)
    kept = listed(folder)
    _delete(kept[: max(0, kept.index(path) + 1 - keep)])
    return path


def load_newest(folder: Path, warn: Callable[[str], object]) -> Snapshot | None:
    """The newest sound snapshot, or None; `warn` gets a line for each damaged one that is newer.

    Raises OSError for one that cannot be read, as when a network disk is away for a moment: it may be sound.
    """
    for path in reversed(listed(folder)):
        try:
            _verify(path)
            return _read(path)
        except (*_DAMAGE, ValueError, LookupError, TypeError, SafetensorError) as error:
            warn(f"{path.name} is damaged and passed over: {' '.join(str(error).split())}")
        except OSError as error:
            told = f"{error.strerror or error}: it may be sound, so the run stops; without {path.name} it goes on"
            raise OSError(error.errno, told, error.filename or str(path)) from None
    return None


_DAMAGE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def set_aside(folder: Path, step: int) -> None:
    """Give snapshots from a step on another name, `step-N.damaged`: they were passed over, and nobody deletes them."""
    for path in listed(folder):
        if _step(path) >= step:
            names = (path.with_name(f"{path.name}.damaged{f'-{n}' if n else ''}") for n in itertools.count())
            path.rename(next(name for name in names if not os.path.lexists(name)))


def folder_of(folder: Path, step: int) -> Path:
    """Where the snapshot of a step lies, with what `also` of `save_snapshot` wrote."""
    return folder / f"step-{step:08d}"


def _write(folder: Path, snapshot: Snapshot, also: Callable[[Path], object]) -> Path:
    path = folder_of(folder, snapshot.step)
    try:
        with folder_beside(path) as temporary:
            tensors = {key: value.detach().cpu().contiguous() for key, value in snapshot.tensors.items()}
            facts = json.dumps({"step": snapshot.step, **snapshot.facts})
            save_file(tensors, temporary / _STATE, {_FACTS: facts})
            also(temporary)
            names = sorted(file.name for file in temporary.iterdir())
            sums = "".join(f"{sha256_of(temporary / name)}  {name}\n" for name in names)
            (temporary / _SUMS).write_text(sums)
            for name in (*names, _SUMS):
                sync(temporary / name)
            sync(temporary)
            temporary.rename(path)
            sync(folder)
    except SafetensorError as error:  # which it raises when the disk is full
        raise OSError(errno.ENOSPC, str(error)) from None
    return path


def _verify(path: Path) -> None:
    """Raise ValueError or OSError unless every file of a snapshot matches its digest."""
    sums = [line.partition("  ") for line in (path / _SUMS).read_text().splitlines()]
    if _STATE not in [name for _, _, name in sums]:
        raise ValueError(f"{_SUMS} does not list {_STATE}")
    for expected, _, name in sums:
        if sha256_of(path / name) != expected:
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
        # Clones, since a mapped tensor is lost with its file: on some file systems with a bus error.
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 - it is no mapping
    return Snapshot(facts.pop("step"), tensors, facts)


def listed(folder: Path) -> list[Path]:
    """What is called like a snapshot in a folder, the oldest first. Raises OSError if the folder cannot be read."""
    try:
        found = list(folder.iterdir())  # where it may not look Path.glob would find nothing
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted((path for path in found if _NAME.fullmatch(path.name)), key=_step)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _delete(paths: list[Path]) -> None:
    """Delete snapshots. What cannot be deleted stays: it is no reason to end a run."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments and counters, `index.name`; rates and the like are in the configuration."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def _load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what `_optimizer_tensors` took."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:  # fused kernels need moments in the memory layout of their weights
            value = torch.empty_like(parameter).copy_(value)
        whole["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(whole)


class State:
    """Network, its average, optimiser and progress: everything that the next step depends on, except for the data."""

    def __init__(self, network: U2Net, config: TrainConfig, world: World) -> None:
        freeze(network, config.freeze)
        self.network = network.to(world.device, memory_format=find_layout(world.device))  # type: ignore[call-overload]
        self.average = Average(self.network, config.ema)
        self.optimizer = new_optimizer(self.network, config)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "fp16")
        self.step = 0
        """Steps done."""
        self.best: float | None = None
        """Best validation score so far; higher is better."""
        self.num_stale = 0
        """Validations since the best one."""
        self.validated = 0
        """Step of the last validation."""
        self.num_processes = world.size
        """Processes that train together; another number would take other batches."""
        self.seconds = 0.0
        """Time spent so far."""

    def snapshot(self) -> Snapshot:
        """What `restore` takes."""
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        owners = {
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "optimizer": _optimizer_tensors(self.optimizer),
            "random": random,
        }
        tensors = {f"{owner}/{name}": tensor for owner, part in owners.items() for name, tensor in part.items()}
        facts = {name: getattr(self, name) for name in _PROGRESS} | {"scaler": self.scaler.state_dict()}
        return Snapshot(self.step, tensors, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a snapshot. Raises InvalidModel for one of another network or version."""
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, tensor in snapshot.tensors.items():
            owner, _, name = key.partition("/")
            parts[owner][name] = tensor
        try:
            self.network.load_state_dict(parts["network"])
            self.average.network.load_state_dict(parts["average"])
            _load_optimizer_tensors(self.optimizer, parts["optimizer"])
            self.scaler.load_state_dict(snapshot.facts["scaler"])
            for name in _PROGRESS:
                setattr(self, name, snapshot.facts[name])
        except (KeyError, IndexError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise InvalidModel(f"checkpoint {snapshot.step} is of another network or version: {first}") from None
        torch.set_rng_state(parts["random"]["cpu"])
        if "cuda" in parts["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(parts["random"]["cuda"])
        self.step = snapshot.step


_PROGRESS = ("num_processes", "best", "num_stale", "validated", "seconds")
