"""Pictures and masks decoded and resized: anew whenever asked, or kept in memory, on the disk or on the device."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import u2net
from u2net.errors import BadPictures
from u2net.evaluation.dataset import Source
from u2net.models.transform import Transform
from u2net.system import atomic_write, sync
from u2net.training.config import TrainConfig
from u2net.training.examples import Examples, Failures, Progress
from u2net.training.room import check_device, check_disk, check_memory


class Store(Protocol):
    """Resized pairs by the index of their example."""

    @property
    def examples(self) -> Examples:
        """Those that can be used."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Picture uint8 (3, H, W) and mask uint8 (1, H, W)."""


@dataclass(frozen=True)
class Decoding:
    """Decodes and resizes whenever it is asked. Raises one of UNUSABLE if a file has gone bad meanwhile."""

    examples: Examples
    transform: Transform

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = resized(self.examples, index, self.transform)
        return pair[:3], pair[3:]


@dataclass(frozen=True)
class Kept:
    """Has decoded and resized everything."""

    examples: Examples
    pairs: Tensor = field(repr=False)
    """uint8 (N, 4, H, W): red, green, blue and mask; in memory, in a mapped file, or on a device."""
    rows: tuple[int, ...] = field(repr=False)
    """Where each example lies in `pairs`."""
    file: Path | None = None
    """The mapped file; other processes map it too, rather than being sent its content."""

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
    """The store that `config.cache` names, with the examples that can be used; and which cannot.

    Every pair is decoded once: to be checked, and to be kept at the same time. With cache "none" or "disk" not even
    that, if `folder`, which exists, holds the record that it was done for the same files (by name, size and time) and
    the same transform. Of several processes that share `folder`, one has to open the store before the others do.

    Raises BadPictures, naming all that cannot be used, if `config.on_bad` is "fail"; InvalidDataset if none can;
    NotEnoughRoom before anything is decoded; OSError if `folder` cannot be written.
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
        check_device(_num_bytes(shape), device)
        pairs = torch.empty(shape, dtype=torch.uint8, device=device)

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
    """One pair at the size of `transform`, uint8 (4, H, W): red, green, blue and mask.

    Without anti-aliasing masks are sampled at the nearest pixel, as the authors do; indices always are.
    Raises one of UNUSABLE.
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
    """Says which pairs were found unusable, of exactly which files. It is there only when all have been visited."""

    path: Path
    digest: str

    def read(self) -> Failures | None:
        """What was found; None if there is no record, or one of other files."""
        try:
            record = json.loads(self.path.read_bytes())
            return [(name, why) for name, why in record["failures"]] if record["digest"] == self.digest else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, failures: Failures) -> None:
        """Write it, after what it vouches for."""
        with atomic_write(self.path) as file:
            file.write(json.dumps({"digest": self.digest, "failures": failures}).encode())

    def delete(self) -> None:
        """Delete it, before what it vouches for is changed."""
        self.path.unlink(missing_ok=True)
        sync(self.path.parent)


def _digest(examples: Examples, config: TrainConfig, transform: Transform) -> str:
    """Of everything that what is kept follows from."""

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
    check_memory(_num_bytes(shape), shared)
    pairs = torch.empty(shape, dtype=torch.uint8)
    return pairs.share_memory_() if shared else pairs  # type: ignore[no-untyped-call]


def _new_file(file: Path, shape: tuple[int, ...]) -> Tensor:
    file.unlink(missing_ok=True)
    check_disk(_num_bytes(shape), file.parent)
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
