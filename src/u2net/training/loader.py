"""The opened data of a run, and its batches for one device, made by worker processes."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from u2net.errors import BadPictures, NotEnoughRoom
from u2net.evaluation.dataset import Dataset, Example
from u2net.models.transform import Transform
from u2net.training.augment import augment
from u2net.training.config import TrainConfig
from u2net.training.examples import Failures, Key, Order, Progress, generator, new_examples, open_examples
from u2net.training.parallel import World
from u2net.training.store import Store, open_store

_NUM_SAMPLES = 8
_NUM_TOGETHER = 2  # pictures that a CPU augments together, so that they stay in its cache

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The data of a run: what it trains on, in which order, and what it validates on."""

    store: Store
    order: Order
    config: TrainConfig
    world: World
    validation: list[Dataset]

    @property
    def samples(self) -> list[Example]:
        """A few examples to look at, of the first validation set or else of the training set."""
        examples = list(self.validation[0]) if self.validation else list(self.store.examples.entries)
        return examples[:: -(-len(examples) // _NUM_SAMPLES)]

    def name(self, key: Key) -> str:
        """The name of a key's example, for messages."""
        return self.store.examples.entries[key.example].name

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Batches of augmented pairs for this process from a step on, without end; `accumulate` of them are a step.

        They are on the device if the store keeps its pictures there, else in memory, pinned if the device is a GPU. The
        batches from step n on are the same, bit for bit, whether training began there or before, and for any number of
        workers. Raises BadPictures, with its name, for a pair that can no longer be read, and NotEnoughRoom when a
        worker was killed.
        """
        config, world = self.config, self.world
        numbers = itertools.count(start_step * config.accumulate)
        places = (positions(number, config.batch_size, world.rank, world.size) for number in numbers)
        keys = ([self.order[position] for position in batch] for batch in places)
        maker = _Maker(self.store, config)
        made: Iterator[Batch | Failures | Exception]
        if config.cache == "device":
            made = map(maker.__getitems__, keys)
        else:
            made = _in_workers(maker, keys, config.workers, pinned=world.device.type == "cuda")
        try:
            for batch in made:
                if isinstance(batch, Exception):
                    raise batch
                if not isinstance(batch, Batch):
                    raise BadPictures(batch)
                yield batch
        finally:
            del made  # which ends the workers; a traceback would keep it, and them


def open_data(config: TrainConfig, transform: Transform, folder: Path, world: World, progress: Progress = iter) -> Data:
    """Open the data of a run; its caches go to `folder`. Raises what `open_examples` and `open_store` do.

    Validation data is checked now too: hours later, in the first validation, would be too late.
    """
    examples, validation = open_examples(config)
    folder.mkdir(parents=True, exist_ok=True)
    validation, unusable = world.everyone(_usable(validation, config, progress) if world.leads else ([], []))[0]
    store = None
    for is_turn_of_leader in (True, False):  # the leader fills what is shared, then the others find it
        if world.leads is is_turn_of_leader:
            try:
                store, failures = open_store(examples, config, transform, folder, world.device, progress)
            except BadPictures as error:
                raise BadPictures(error.failures + unusable) from None
        world.highest(0)
    assert store is not None
    if unusable and config.on_bad == "fail":
        raise BadPictures(unusable)
    for name, why in failures + unusable if world.leads else ():
        _log.warning("left out %s: %s", name, why)
    return Data(store, Order(store.examples.weights, config.seed), config, world, validation)


def _usable(datasets: list[Dataset], config: TrainConfig, progress: Progress) -> tuple[list[Dataset], Failures]:
    """Data sets without the pairs that cannot be used, and these pairs. Raises InvalidDataset if one has no others."""
    kept: list[Dataset] = []
    failures: Failures = []
    for dataset in datasets:
        examples = new_examples([dataset], [1.0], config)
        bad = examples.check(max(1, config.workers), progress)
        kept.append(replace(dataset, examples=list(examples.without(bad).entries)))
        failures += bad
    return kept, failures


@dataclass(frozen=True)
class Batch:
    """The pairs of one batch, on one device."""

    images: Tensor
    """uint8 (B, 3, crop, crop)."""
    masks: Tensor
    """uint8 (B, 1, crop, crop): grey from 0 to 255, or indices of classes."""
    keys: tuple[Key, ...]
    """Which example each is."""

    def pin_memory(self) -> Self:
        """The same in memory that a GPU can read while the CPU goes on."""
        return type(self)(self.images.pin_memory(), self.masks.pin_memory(), self.keys)


def positions(batch: int, batch_size: int, rank: int, world: int) -> range:
    """The positions in the order that make batch 0, 1, 2, … of one of `world` devices, which take turns.

    A step takes `accumulate` batches in a row on each device: step s those from s × accumulate on, and with them the
    positions from s × batch_size × accumulate × world on, for any number of devices.
    """
    first = batch * batch_size * world + rank
    return range(first, first + batch_size * world, world)


class _Maker(torch.utils.data.Dataset[Any]):
    """Makes batches from keys, in a worker or in the main process."""

    def __init__(self, store: Store, config: TrainConfig) -> None:
        self._store = store
        self._config = config

    def __getitems__(self, keys: Sequence[Key]) -> Batch | Failures:
        """A batch, or the pair that cannot be read: exceptions lose their fields on the way between processes."""
        config = self._config
        try:
            images, masks, subjects = self._store.take([key.example for key in keys])
        except BadPictures as error:
            return error.failures
        rngs = [generator(config.seed, key) for key in keys]
        num = len(keys) if images.is_cuda else _NUM_TOGETHER
        with _one_thread():
            parts = [
                augment(
                    images[part], masks[part], config.augment, config.crop, rngs[part], subjects[part],
                    config.num_classes > 1, config.anywhere,
                )
                for part in (slice(start, start + num) for start in range(0, len(keys), num))
            ]  # fmt: skip
        images, masks = (torch.cat(part) for part in zip(*parts, strict=True))
        return Batch(images, masks, tuple(keys))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in this thread alone: the last digits of a resize depend on how threads share its rows."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _in_workers(maker: _Maker, keys: Iterator[Any], num_workers: int, *, pinned: bool) -> Iterator[Any]:
    """What `maker.__getitems__` makes of each of `keys`, in their order, in workers; with 0 workers, in this process.

    If a worker dies, the last item is NotEnoughRoom: returned, not raised, since its traceback would keep the other
    workers. They end when this iterator is deleted.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores, as configured
        loader = DataLoader(
            maker,
            batch_sampler=keys,
            num_workers=num_workers,
            collate_fn=_unchanged,
            pin_memory=pinned,
            worker_init_fn=_leave_signals_to_the_main_process,
            generator=torch.Generator(),  # else it draws from the global one, whose state belongs to the run
        )
        return _with_deaths_reported(_started(loader))


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's batches. The death of a worker is reported when the next one is due, not in the midst of a step."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return iter(loader)
    handler = signal.getsignal(signal.SIGCHLD) or signal.SIG_DFL
    batches = iter(loader)
    signal.signal(signal.SIGCHLD, handler)  # in place of torch's, which raises anywhere
    return batches


def _with_deaths_reported(batches: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from batches
        return
    except RuntimeError as error:
        told = " ".join(str(error).split())
        if not told.startswith("DataLoader worker"):
            raise
    yield NotEnoughRoom(f"a worker was killed, most often for lack of memory or of room in /dev/shm: {told}")


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Leave the process group that Ctrl-C and schedulers signal, so that the main process can finish its step.

    SIGTERM itself is not ignored, since the main process ends its workers with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def _unchanged(batch: Any) -> Any:
    return batch
