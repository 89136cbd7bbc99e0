"""Pictures and masks, decoded and resized: anew whenever asked, or kept in memory, on the disk or on the device."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import u2net
from u2net.errors import BadPictures, NotEnoughRoom
from u2net.evaluation.dataset import Source
from u2net.models.transform import Transform
from u2net.system import atomic_write, available_memory, sync
from u2net.training.config import TrainConfig
from u2net.training.examples import Examples, Failures, Progress

_SHARED = Path("/dev/shm")  # noqa: S108  (where Linux keeps memory that processes share)


class Store(Protocol):
    """Resized pairs by the index of their example."""

    @property
    def examples(self) -> Examples:
        """Those that can be used."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Picture uint8 (3, H, W) and mask uint8 (1, H, W)."""


@dataclass(frozen=True)
class Decoding:
    """Decodes and resizes on every access. Raises one of UNUSABLE if a file has become unreadable."""

    examples: Examples
    transform: Transform

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = resized(self.examples, index, self.transform)
        return pair[:3], pair[3:]


@dataclass(frozen=True)
class Kept:
    """Everything, decoded and resized once."""

    examples: Examples
    pairs: Tensor = field(repr=False)
    """uint8 (N, 4, H, W): red, green, blue and mask; in memory, in a mapped file, or on a device."""
    rows: tuple[int, ...] = field(repr=False)
    """Row of each example in `pairs`."""
    file: Path | None = None
    """The mapped file; other processes map it too instead of receiving its content."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self.pairs[self.rows[index]]
        return pair[:3], pair[3:]

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is None:
            return Kept, (self.examples, self.pairs, self.rows)
        return _reopen, (self.examples, self.file, tuple(self.pairs.shape), self.rows)


def open_store(
    examples: Examples,
    config: TrainConfig,
    transform: Transform,
    folder: Path,
    device: torch.device,
    progress: Progress = iter,
) -> tuple[Store, Failures]:
    """The store that `config.cache` names, with the examples that can be used, and the ones that cannot.

    Every pair is decoded once, to check and to keep it. With cache "none" or "disk" this is skipped if `folder`, which
    must exist, has the record that it was done for the same files (by name, size and time) and the same transform.
    If several processes share `folder`, one must open the store before the others do.

    Raises BadPictures, with all names, for pairs that cannot be used if `config.on_bad` is "fail"; InvalidDataset if
    none can be used; NotEnoughRoom before anything is decoded; OSError if `folder` cannot be written.
    """
    record = _Record(folder / "pairs.json", _digest(examples, config, transform))
    file = folder / "pairs.bin"
    shape = (len(examples), 4, transform.size[1], transform.size[0])
    is_recorded = config.cache in ("none", "disk")  # the others do not outlive the process
    failures = record.read() if is_recorded else None
    if config.cache == "disk" and not (file.exists() and file.stat().st_size == _num_bytes(shape)):
        failures = None
    if is_recorded and failures is None:
        record.delete()
    pairs = None
    if config.cache == "disk":
        pairs = _map(file, shape) if failures is not None else _new_file(file, shape)
    elif config.cache == "memory":
        pairs = _new_memory(shape, shared=config.workers > 0)
    elif config.cache == "device":
        pairs = _new_on_device(shape, device)

    def use(index: int) -> None:
        if pairs is None:
            examples.load(index)
        else:
            pairs[index] = resized(examples, index, transform).to(pairs.device)

    if failures is None:
        failures = examples.visit(use, max(1, config.workers), progress)
        if config.cache == "disk":
            sync(file)
        if is_recorded:
            record.write(failures)
    if failures and config.on_bad == "fail":
        raise BadPictures(failures)
    usable = examples.without(failures)
    if pairs is None:
        return Decoding(usable, transform), failures
    bad = {name for name, _ in failures}
    rows = tuple(row for row, entry in enumerate(examples.entries) if entry.name not in bad)
    return Kept(usable, pairs, rows, file if config.cache == "disk" else None), failures


def resized(examples: Examples, index: int, transform: Transform) -> Tensor:
    """One pair at the size of `transform`, uint8 (4, H, W): red, green, blue and mask. Raises one of UNUSABLE.

    Class indices always take the nearest pixel; without anti-aliasing, as the authors do, so do grey masks.
    """
    image, mask = examples.load(index)
    soft = transform.antialias and examples.num_classes == 1
    kernel = Image.Resampling.BILINEAR if soft else Image.Resampling.NEAREST
    pair = np.empty((4, transform.size[1], transform.size[0]), dtype=np.uint8)
    pair[:3] = np.rint(transform.resize(image)).clip(0, 255).transpose(2, 0, 1)
    pair[3] = np.asarray(Image.fromarray(mask).resize(transform.size, kernel))
    return torch.from_numpy(pair)


@dataclass(frozen=True)
class _Record:
    """A file that lists the unusable pairs of exactly these files. It exists only when all have been checked."""

    path: Path
    digest: str

    def read(self) -> Failures | None:
        """The unusable pairs; None if there is no record, or one of other files."""
        try:
            record = json.loads(self.path.read_bytes())
            return [(name, why) for name, why in record["failures"]] if record["digest"] == self.digest else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, failures: Failures) -> None:
        """Write it, after the data that it describes."""
        with atomic_write(self.path) as file:
            file.write(json.dumps({"digest": self.digest, "failures": failures}).encode())

    def delete(self) -> None:
        """Delete it, before the data that it describes is changed."""
        self.path.unlink(missing_ok=True)
        sync(self.path.parent)


def _digest(examples: Examples, config: TrainConfig, transform: Transform) -> str:
    """A digest of everything that decides the content of the store."""

    @cache
    def stamp(path: Path) -> tuple[int, int] | None:
        try:
            status = path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns

    def describe(source: Source | None) -> tuple[object, ...] | None:
        return None if source is None else (source.path.name, stamp(source.path), source.inside)

    files = [(entry.name, describe(entry.image), describe(entry.mask)) for entry in examples.entries]
    masks = (examples.num_classes, examples.ignore_index)
    content = (u2net.__version__, config.cache, transform.to_json(), masks, files)
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _num_bytes(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _new_memory(shape: tuple[int, ...], shared: bool) -> Tensor:
    _check_memory(_num_bytes(shape), shared)
    pairs = torch.empty(shape, dtype=torch.uint8)
    return pairs.share_memory_() if shared else pairs  # type: ignore[no-untyped-call]


def _new_on_device(shape: tuple[int, ...], device: torch.device) -> Tensor:
    if device.type == "cuda":  # what the network will need is not counted
        free, _ = torch.cuda.mem_get_info(device)
        _check(_num_bytes(shape), free, f"{device}; cache 'memory', 'disk' or 'none' takes none")
    else:
        _check_memory(_num_bytes(shape), shared=False)
    return torch.empty(shape, dtype=torch.uint8, device=device)


def _new_file(file: Path, shape: tuple[int, ...]) -> Tensor:
    file.unlink(missing_ok=True)
    _check(_num_bytes(shape), shutil.disk_usage(file.parent).free, f"{file.parent}; cache 'none' takes none")
    with file.open("xb") as new:
        if hasattr(os, "posix_fallocate"):  # a disk that fills up later would kill the process as it writes
            os.posix_fallocate(new.fileno(), 0, _num_bytes(shape))
        else:
            new.truncate(_num_bytes(shape))
    return _map(file, shape)


def _map(file: Path, shape: tuple[int, ...]) -> Tensor:
    return torch.from_file(str(file), shared=True, size=_num_bytes(shape), dtype=torch.uint8).view(shape)


def _reopen(examples: Examples, file: Path, shape: tuple[int, ...], rows: tuple[int, ...]) -> Kept:
    return Kept(examples, _map(file, shape), rows, file)


def _check_memory(num_bytes: int, shared: bool) -> None:
    """Raise NotEnoughRoom unless memory (if `shared`, memory that processes share) has room for so much."""
    available = available_memory()
    if available is not None:
        _check(num_bytes, available, "memory; cache 'disk' or 'none' takes less")
    if shared and _SHARED.is_dir():
        advice = f"{_SHARED}; enlarge it (docker run --shm-size), or cache on 'disk', or have 0 workers"
        _check(num_bytes, shutil.disk_usage(_SHARED).free, advice)


def _check(num_bytes: int, available: int, place: str) -> None:
    if num_bytes > available:
        needed, free = num_bytes / 2**30, available / 2**30
        raise NotEnoughRoom(f"the resized pictures need {needed:,.1f} GiB, and {free:,.1f} GiB are free in {place}")
