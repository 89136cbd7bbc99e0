"""Batches for one device, in an order that depends neither on processes nor on where training was taken up."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from u2net.errors import BadPictures, reason
from u2net.models.transform import Transform
from u2net.training.augment import augment
from u2net.training.config import TrainConfig
from u2net.training.examples import UNUSABLE, Failures
from u2net.training.order import Key, Order, generator
from u2net.training.store import Store
from u2net.training.workers import one_thread, start


@dataclass(frozen=True)
class Batch:
    """What one device takes at once."""

    images: Tensor
    """uint8 (B, 3, crop, crop)."""
    masks: Tensor
    """uint8 (B, 1, crop, crop): grey from 0 to 255, or indices of classes."""
    keys: tuple[Key, ...]
    """What each of them is."""

    def pin_memory(self) -> Self:
        """The same in memory that a GPU can read while the CPU goes on."""
        return type(self)(self.images.pin_memory(), self.masks.pin_memory(), self.keys)


def positions(batch: int, batch_size: int, rank: int, world: int) -> range:
    """The positions in the order that make batch 0, 1, 2, … of one of `world` devices, which take turns.

    A step takes `accumulate` batches in a row on each device: step s those from s × accumulate on, and with them the
    positions from s × batch_size × accumulate × world on, whatever the number of devices.
    """
    first = batch * batch_size * world + rank
    return range(first, first + batch_size * world, world)


@dataclass(frozen=True)
class Loader:
    """Batches of augmented pairs for one device of `world`."""

    store: Store
    order: Order
    config: TrainConfig
    rank: int
    world: int
    device: torch.device

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Batches from a step on, without end; `accumulate` of them are a step.

        They are on `device` if the store keeps its pictures there, else in memory, pinned if `device` is a GPU. The
        batches from step n on are the same, bit for bit, whether training began there or before, and however many
        workers make them. Raises BadPictures, naming it, for a pair that can no longer be read, and NotEnoughRoom
        when a worker was killed.
        """
        keys = self._keys(start_step * self.config.accumulate)
        maker = _Maker(self.store, self.config)
        made: Iterator[Batch | Failures | Exception]
        if self.config.cache == "device":
            made = map(maker.__getitems__, keys)
        else:
            made = start(maker, keys, self.config.workers, pinned=self.device.type == "cuda")
        try:
            for batch in made:
                if isinstance(batch, Exception):
                    raise batch
                if not isinstance(batch, Batch):
                    raise BadPictures(batch)
                yield batch
        finally:
            del made  # which ends the workers; a traceback would keep it, and them

    def _keys(self, first: int) -> Iterator[list[Key]]:
        """The keys of each batch."""
        for batch in itertools.count(first):
            places = positions(batch, self.config.batch_size, self.rank, self.world)
            yield [self.order[position] for position in places]


class _Maker(Dataset[Any]):
    """Makes batches from keys, in a worker or in the main process."""

    def __init__(self, store: Store, config: TrainConfig) -> None:
        self._store = store
        self._config = config

    def __getitems__(self, keys: Sequence[Key]) -> Batch | Failures:
        """A batch; or which pair cannot be read, since errors lose their fields on their way between processes."""
        config = self._config
        images, masks = [], []
        for key in keys:
            try:
                image, mask = self._store[key.example]
            except UNUSABLE as error:
                return [(self._store.examples.entries[key.example].name, reason(error))]
            with one_thread():
                rng = generator(config.seed, key)
                classes = config.num_classes > 1
                image, mask = augment(image, mask, config.augment, config.crop, rng, classes, config.anywhere)
            images.append(image)
            masks.append(mask)
        return Batch(torch.stack(images), torch.stack(masks), tuple(keys))


def normalise(images: Tensor, transform: Transform) -> Tensor:
    """What a network takes, float32 (B, 3, H, W), from pictures uint8 (B, 3, H, W): as `Transform.normalise` does."""
    pixels = images.float()
    if transform.divisor == "255":
        pixels = pixels / 255
    else:
        peak = pixels.amax(dim=(1, 2, 3), keepdim=True)
        pixels = pixels / torch.where(peak > 0, peak, 1)
    mean, std = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (transform.mean, transform.std))
    return (pixels - mean) / std
