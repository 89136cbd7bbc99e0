"""Which example comes when: an endless order that is known at every position without having been walked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Key(NamedTuple):
    """One appearance of one example; what varies it is drawn from this and the seed alone."""

    epoch: int
    example: int
    copy: int
    """Counts the appearances of the example within the epoch, from 0."""


class Order:
    """Positions 0, 1, 2, … of training, epoch after epoch; the same for the same seed, however many processes ask.

    In an epoch an example of weight w appears floor(w) times; of the examples that share a fraction w − floor(w), that
    part, rounded but at least one, is drawn to appear once more. An epoch is `len` positions long, each in an order of
    its own. Batches are runs of positions, so that one may reach from one epoch into the next: none is partial, none
    left out. Raises ValueError without examples, or for a weight that is not above 0.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        self._weights = np.asarray(weights, dtype=np.float64)
        if not self._weights.size or not (self._weights > 0).all():
            raise ValueError("an order needs examples, each of a weight above 0")
        self._seed = seed
        self._whole = np.floor(self._weights).astype(np.int64)
        fractions = self._weights - self._whole
        self._drawn_from = [np.flatnonzero(fractions == fraction) for fraction in np.unique(fractions[fractions > 0])]
        self._num_drawn = [max(1, round(len(group) * fractions[group[0]])) for group in self._drawn_from]
        self._length: int = int(self._whole.sum()) + sum(self._num_drawn)
        self._epoch = -1
        self._entries: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)

    def __len__(self) -> int:
        """Positions in an epoch."""
        return self._length

    def __getitem__(self, position: int) -> Key:
        epoch, index = divmod(position, self._length)
        if epoch != self._epoch:  # one is kept: positions are asked for as they come
            self._epoch, self._entries = epoch, self._new_entries(epoch)
        example, copy = self._entries[index].tolist()
        return Key(epoch, example, copy)

    def _new_entries(self, epoch: int) -> NDArray[np.int64]:
        """Example and copy at each position of an epoch, (len, 2)."""
        rng = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(_ORDER, epoch)))
        drawn = [rng.permutation(group)[:num] for group, num in zip(self._drawn_from, self._num_drawn, strict=True)]
        counts = self._whole.copy()
        for group in drawn:
            counts[group] += 1
        examples = np.repeat(np.arange(len(counts)), counts)
        copies = np.arange(self._length) - np.repeat(np.cumsum(counts) - counts, counts)
        return rng.permutation(np.stack([examples, copies], axis=1))


def generator(seed: int, key: Key) -> np.random.Generator:
    """What one appearance of an example draws its variations from."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_VARIATION, *key))))


_ORDER, _VARIATION = 0, 1  # so that no example's numbers are those that order an epoch
