"""Pictures and masks, decoded and resized: anew whenever asked, or kept in memory, on the disk or on the device."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import u2net
from u2net.errors import BadPictures, NotEnoughRoom, reason
from u2net.evaluation.dataset import Source
from u2net.models.transform import Transform
from u2net.system.files import atomic_write, sync
from u2net.system.process import available_memory
from u2net.training.augment import find_subjects
from u2net.training.config import TrainConfig
from u2net.training.examples import UNUSABLE, Examples, Failures, Progress
from u2net.training.framing import Subject
from u2net.training.sampling import to_device

_AT_ONCE = 256  # masks in which subjects are looked for together

_SHARED = Path("/dev/shm")  # noqa: S108  (where Linux keeps memory that processes share)


@dataclass(frozen=True)
class Store:
    """Resized pairs by the index of their example: decoded on every access, or kept."""

    examples: Examples
    """Those that can be used."""
    transform: Transform
    pairs: Tensor | None = field(default=None, repr=False)
    """What is kept, uint8 (N, 4, H, W): red, green, blue and mask; in memory, in a mapped file, or on a device."""
    rows: tuple[int, ...] = field(default=(), repr=False)
    """Row of each example in `pairs`."""
    file: Path | None = None
    """The mapped file; other processes map it too instead of receiving its content."""
    subjects: tuple[Subject, ...] = field(default=(), repr=False)
    """Where the subject of each example is, for pairs on a device: to ask it for each batch would be to wait for it."""

    def take(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, list[Subject]]:
        """Pictures uint8 (B, 3, H, W), masks uint8 (B, 1, H, W), and where their subjects are.

        Raises BadPictures for a file that must be decoded, and cannot be.
        """
        if self.pairs is None:
            pairs = torch.stack([self._decoded(index) for index in indices])
        else:
            rows = to_device([self.rows[index] for index in indices], self.pairs.device, np.int64)
            pairs = self.pairs.index_select(0, rows)
        images, masks = pairs[:, :3], pairs[:, 3:]
        return images, masks, [self.subjects[index] for index in indices] if self.subjects else find_subjects(masks)

    def _decoded(self, index: int) -> Tensor:
        try:
            return resized(self.examples, index, self.transform)
        except UNUSABLE as error:
            raise BadPictures([(self.examples.entries[index].name, reason(error))]) from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | ({} if self.file is None else {"pairs": None})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.file is not None:
            self.__dict__["pairs"] = _map(self.file, self.transform)


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
    must exist, has the record that it was done for the same files (by name, size and times) and the same transform.
    If several processes share `folder`, one must open the store before the others do.

    Raises BadPictures, with all names, for pairs that cannot be used if `config.on_bad` is "fail"; InvalidDataset if
    none can be used; NotEnoughRoom before anything is decoded; OSError if `folder` cannot be written.
    """
    record, file = folder / "pairs.json", folder / "pairs.bin"
    digest = _digest(examples, config, transform)
    shape = (len(examples), 4, transform.size[1], transform.size[0])
    is_recorded = config.cache in ("none", "disk")  # the others do not outlive the process
    failures = _recorded(record, digest) if is_recorded else None
    if config.cache == "disk" and not (file.exists() and file.stat().st_size == math.prod(shape)):
        failures = None
    if is_recorded and failures is None:
        record.unlink(missing_ok=True)  # before the data that it describes is changed
        sync(folder)
    pairs = None
    if config.cache == "disk" and failures is not None:
        pairs = _map(file, transform)
    elif config.cache != "none":
        pairs = _new_pairs(shape, config, transform, file, device)

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
            with atomic_write(record) as new:
                new.write(json.dumps({"digest": digest, "failures": failures}).encode())
    if failures and config.on_bad == "fail":
        raise BadPictures(failures)
    bad = {name for name, _ in failures}
    rows = tuple(row for row, entry in enumerate(examples.entries) if entry.name not in bad)
    kept_in = file if config.cache == "disk" else None
    subjects: list[Subject] = []
    if pairs is not None and config.cache == "device":
        for start in range(0, len(rows), _AT_ONCE):
            some = to_device(rows[start : start + _AT_ONCE], pairs.device, np.int64)
            subjects += find_subjects(pairs[some, 3:])
    return Store(examples.without(failures), transform, pairs, rows, kept_in, tuple(subjects)), failures


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


def _recorded(record: Path, digest: str) -> Failures | None:
    """The unusable pairs of exactly these files; None if they have not all been checked."""
    try:
        known = json.loads(record.read_bytes())
        return [(name, why) for name, why in known["failures"]] if known["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(examples: Examples, config: TrainConfig, transform: Transform) -> str:
    """A digest of everything that decides the content of the store."""

    @cache
    def stamp(path: Path) -> tuple[int, ...] | None:
        try:
            status = path.stat()
        except OSError:
            return None
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns  # which no program can set

    def describe(source: Source | None) -> tuple[object, ...] | None:
        return None if source is None else (source.path.name, stamp(source.path), source.inside)

    files = [(entry.name, describe(entry.image), describe(entry.mask)) for entry in examples.entries]
    masks = (examples.num_classes, examples.ignore_index)
    content = (u2net.__version__, config.cache, transform.to_json(), masks, files)
    return hashlib.sha256(repr(content).encode()).hexdigest()


def _new_pairs(
    shape: tuple[int, ...], config: TrainConfig, transform: Transform, file: Path, device: torch.device
) -> Tensor:
    """Room for pairs where `config.cache` keeps them. Raises NotEnoughRoom."""
    num_bytes = math.prod(shape)
    if config.cache == "disk":
        file.unlink(missing_ok=True)
        _check(num_bytes, shutil.disk_usage(file.parent).free, f"{file.parent}; cache 'none' takes none")
        with file.open("xb") as new:
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would kill the process as it writes
                os.posix_fallocate(new.fileno(), 0, num_bytes)
            else:
                new.truncate(num_bytes)
        return _map(file, transform)
    kept_on = device if config.cache == "device" else torch.device("cpu")
    if kept_on.type == "cuda":  # what the network will need is not counted
        free, _ = torch.cuda.mem_get_info(device)
        _check(num_bytes, free, f"{device}; cache 'memory', 'disk' or 'none' takes none")
    elif (available := available_memory()) is not None:
        _check(num_bytes, available, "memory; cache 'disk' or 'none' takes less")
    is_shared = config.cache == "memory" and config.workers > 0
    if is_shared and _SHARED.is_dir():
        advice = f"{_SHARED}; enlarge it (docker run --shm-size), or cache on 'disk', or have 0 workers"
        _check(num_bytes, shutil.disk_usage(_SHARED).free, advice)
    pairs = torch.empty(shape, dtype=torch.uint8, device=kept_on)
    return pairs.share_memory_() if is_shared else pairs  # type: ignore[no-untyped-call]


def _map(file: Path, transform: Transform) -> Tensor:
    pairs = torch.from_file(str(file), shared=True, size=file.stat().st_size, dtype=torch.uint8)
    return pairs.view(-1, 4, transform.size[1], transform.size[0])


def _check(num_bytes: int, available: int, place: str) -> None:
    if num_bytes > available:
        needed, free = num_bytes / 2**30, available / 2**30
        raise NotEnoughRoom(f"the resized pictures need {needed:,.1f} GiB, and {free:,.1f} GiB are free in {place}")
