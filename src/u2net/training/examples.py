"""The pairs of picture and mask to train on, and the order in which an epoch takes them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from u2net.errors import InvalidDataset, InvalidImage, reason
from u2net.evaluation.dataset import Dataset, Example, load_grey, load_indices, named_uniquely, open_dataset, open_pairs
from u2net.images.load import load_image
from u2net.training.config import TrainConfig

Progress = Callable[[range], Iterable[int]]
"""Wraps the range of examples that are being read, as tqdm does; `iter` shows nothing."""

Failures = list[tuple[str, str]]
"""Name and reason, in one line, of each pair that cannot be used."""

UNUSABLE = (InvalidImage, InvalidDataset, OSError)
"""What loading a pair that cannot be used raises."""


def in_threads(use: Callable[[int], object], num: int, num_threads: int, progress: Progress) -> None:
    """Call `use` with each number below `num`, in threads, not far ahead of `progress`. Raises what either raises."""
    waiting: deque[Future[object]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        for index in progress(range(num)):
            waiting.append(pool.submit(use, index))
            if len(waiting) > 4 * num_threads:
                waiting.popleft().result()
        for future in waiting:
            future.result()


@dataclass(frozen=True)
class Examples:
    """Pairs of one or several data sets, in a fixed order."""

    entries: tuple[Example, ...] = field(repr=False)
    """Named uniquely, "duts-tr-0/ILSVRC2012_test_00000004"."""
    weights: tuple[float, ...] = field(repr=False)
    """How many times an epoch uses each."""
    num_classes: int = 1
    """1 for grey masks; of several classes, masks hold indices below it."""
    ignore_index: int = 255
    """The index that masks of several classes may hold besides."""

    def __len__(self) -> int:
        return len(self.entries)

    def load(self, index: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        """One picture in RGB and its mask, uint8 (H, W), of the same size.

        The mask is grey, 0 to 255, for background and subject; for several classes it has their indices.
        Raises one of UNUSABLE, with a message that is read after the pair's name.
        """
        example = self.entries[index]
        if example.image is None or example.mask is None:
            raise InvalidDataset("has no mask" if example.mask is None else "has no picture")
        image = load_image(example.image.read()).view()
        mask = load_grey(example.mask) if self.num_classes == 1 else load_indices(example.mask)
        if image.size != (mask.shape[1], mask.shape[0]):
            (width, height), (h, w) = image.size, mask.shape
            raise InvalidDataset(f"has {width}×{height} pixels, its mask {w}×{h}")
        if self.num_classes > 1:
            unknown = (mask >= self.num_classes) & (mask != self.ignore_index)
            if unknown.any():
                raise InvalidDataset(f"has index {mask[unknown][0]} in its mask, of {self.num_classes} classes")
        return image, mask

    def check(self, num_threads: int, progress: Progress = iter) -> Failures:
        """Load every pair once; the ones that cannot be used."""
        return self.visit(self.load, num_threads, progress)

    def visit(self, use: Callable[[int], object], num_threads: int, progress: Progress = iter) -> Failures:
        """Call `use` with the index of every pair, in threads; the ones for which it raised one of UNUSABLE.

        Raises OSError for a file that is there and cannot be read.
        """
        failures: dict[int, tuple[str, str]] = {}

        def attempt(index: int) -> None:
            try:
                use(index)
            except UNUSABLE as error:
                if isinstance(error, OSError) and error.errno and not isinstance(error, FileNotFoundError):
                    raise  # what cannot be read now is not broken, and may be read when the run goes on
                failures[index] = (self.entries[index].name, reason(error))

        in_threads(attempt, len(self), num_threads, progress)
        return [failures[index] for index in sorted(failures)]

    def without(self, failures: Failures) -> Examples:
        """The examples that can be used. Raises InvalidDataset, with the first reason, if there are none."""
        bad = {name for name, _ in failures}
        kept = [index for index, entry in enumerate(self.entries) if entry.name not in bad]
        if not kept:
            raise InvalidDataset(f"none of {len(self)} pairs can be used: {' '.join(failures[0])}")
        entries = tuple(self.entries[index] for index in kept)
        return replace(self, entries=entries, weights=tuple(self.weights[index] for index in kept))


def open_examples(config: TrainConfig) -> tuple[Examples, list[Dataset]]:
    """What to train on and what to validate on: the data sets in `validation`, or the pairs held out.

    Held out of each data set are the pairs whose names have the lowest digests, for any order and seed; at least one
    pair is left to train on. Raises InvalidDataset.
    """
    datasets = [open_dataset(root, mask_suffix=config.mask_suffix) for root in config.data]
    weights = list(config.weights or [1.0] * len(datasets))
    if config.images is not None and config.masks is not None:
        datasets.append(open_pairs(config.images, config.masks, mask_suffix=config.mask_suffix))
        weights.append(1.0)
    if not datasets:
        raise InvalidDataset("nothing to train on: name a folder or archive with pictures and masks")
    datasets = _named_uniquely(datasets)
    if config.validation:
        validation = _named_uniquely([open_dataset(root, mask_suffix=config.mask_suffix) for root in config.validation])
        return new_examples(datasets, weights, config), validation
    parts = [config.holdout if weight >= 1 else 0.0 for weight in weights]
    split = [_hold_out(dataset, part) for dataset, part in zip(datasets, parts, strict=True)]
    held_out = [example for _, part in split for example in part]
    validation = [Dataset("holdout", f"held out of {', '.join(d.name for d in datasets)}", held_out)]
    return new_examples([rest for rest, _ in split], weights, config), validation if held_out else []


def new_examples(datasets: Sequence[Dataset], weights: Sequence[float], config: TrainConfig) -> Examples:
    """The examples of several data sets, each with the weight of its data set."""
    return Examples(
        tuple(example for dataset in datasets for example in dataset),
        tuple(weight for dataset, weight in zip(datasets, weights, strict=True) for _ in dataset),
        config.num_classes,
        config.ignore_index,
    )


def _named_uniquely(datasets: Sequence[Dataset]) -> list[Dataset]:
    """The data sets with their names before those of their examples; of two of one name, the second is "name-2"."""
    return [replace(d, examples=[replace(e, name=f"{d.name}/{e.name}") for e in d]) for d in named_uniquely(datasets)]


def _hold_out(dataset: Dataset, part: float) -> tuple[Dataset, list[Example]]:
    """The rest of a data set, and the pairs held out of it."""
    pairs = sorted((example for example in dataset if example.is_pair), key=_digest)
    held_out = {example.name for example in pairs[: min(round(len(pairs) * part), len(pairs) - 1)]}
    rest = [example for example in dataset if example.name not in held_out]
    return replace(dataset, examples=rest), [example for example in dataset if example.name in held_out]


def _digest(example: Example) -> bytes:
    _, _, name = example.name.partition("/")  # the data set may be moved and renamed
    return hashlib.sha256(name.encode()).digest()


class Key(NamedTuple):
    """One use of one example. Its augmentation is drawn from this and the seed alone."""

    epoch: int
    example: int
    copy: int
    """Counts the uses of the example within the epoch, from 0."""


class Order:
    """Which example comes at position 0, 1, 2, … of training; known at every position without walking there.

    An epoch has `len` positions, in its own random order, which depends on the seed alone. It uses an example of weight
    w floor(w) times; of the examples with the same fraction w − floor(w), that share (rounded, at least one) is drawn
    to be used once more. Batches are runs of positions and may reach into the next epoch, so that none is partial and
    none left out. Raises ValueError without examples, or for a weight that is not above 0.
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
    """The random generator for the augmentation of one use of an example."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_VARIATION, *key))))


_ORDER, _VARIATION = 0, 1  # so that no example's numbers are those that order an epoch
