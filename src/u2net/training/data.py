"""The data of a run, opened: what it trains on, in which order, and what it validates on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from u2net.errors import BadPictures
from u2net.evaluation.dataset import Dataset, Example
from u2net.models.transform import Transform
from u2net.training.config import TrainConfig
from u2net.training.examples import Failures, Progress, new_examples, open_examples
from u2net.training.loader import Loader
from u2net.training.order import Key, Order
from u2net.training.parallel import World
from u2net.training.store import Store, open_store

_NUM_SAMPLES = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What a run reads."""

    store: Store
    order: Order
    loader: Loader
    validation: list[Dataset]

    @property
    def samples(self) -> list[Example]:
        """A few examples to look at: of the first data set to validate on, else of those to train on."""
        examples = list(self.validation[0]) if self.validation else list(self.store.examples.entries)
        return examples[:: -(-len(examples) // _NUM_SAMPLES)]

    def name(self, key: Key) -> str:
        """What people call the example of a key."""
        return self.store.examples.entries[key.example].name


def open_data(config: TrainConfig, transform: Transform, folder: Path, world: World, progress: Progress = iter) -> Data:
    """Open the data of a run; its caches go to `folder`. Raises what `open_examples` and `open_store` do.

    What cannot be used of the data to validate on is found now: a validation, hours later, would be too late.
    """
    examples, validation = open_examples(config)
    folder.mkdir(parents=True, exist_ok=True)
    validation, unusable = world.everyone(_usable(validation, config, progress) if world.leads else ([], []))[0]
    store = None
    for is_turn_of_leader in (True, False):  # which fills what is shared, and the others find it
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
    order = Order(store.examples.weights, config.seed)
    loader = Loader(store, order, config, world.rank, world.size, world.device)
    return Data(store, order, loader, validation)


def _usable(datasets: list[Dataset], config: TrainConfig, progress: Progress) -> tuple[list[Dataset], Failures]:
    """Data sets without the pairs that cannot be used, and those. Raises InvalidDataset if nothing else is there."""
    kept: list[Dataset] = []
    failures: Failures = []
    for dataset in datasets:
        examples = new_examples([dataset], [1.0], config)
        bad = examples.check(max(1, config.workers), progress)
        kept.append(replace(dataset, examples=list(examples.without(bad).entries)))
        failures += bad
    return kept, failures
