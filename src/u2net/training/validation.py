"""Validation in training: the `evaluate` that users run, over a session around the live network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from u2net.evaluation.dataset import Dataset, Example
from u2net.evaluation.evaluate import Evaluation, Tally, as_predict, measure
from u2net.evaluation.report import save_examples
from u2net.inference.session import Session
from u2net.models.card import Card
from u2net.net.backend import torch_backend
from u2net.net.model import U2Net
from u2net.system import Signals
from u2net.training.config import TrainConfig
from u2net.training.parallel import World


class Validator:
    """Scores a network, as it is at the time, on data sets; the processes of a world share the work."""

    def __init__(
        self,
        datasets: Sequence[Dataset],
        network: U2Net,
        card: Card,
        config: TrainConfig,
        world: World,
        signals: Signals,
    ) -> None:
        self.datasets = datasets
        self.predict, self.name = as_predict(Session(torch_backend(network), card))
        self.ignore_index = config.ignore_index
        self.world = world
        self.signals = signals

    def evaluate(self) -> list[Evaluation] | None:
        """One evaluation per data set, equal in all processes; None if a signal came before they were done."""
        tallies = [self._measure(dataset) for dataset in self.datasets]
        if self.world.highest(self.signals.received):
            return None
        evaluations = []
        for tally in tallies:
            whole, *others = self.world.everyone(tally)
            for other in others:
                whole.merge(other)
            evaluations.append(whole.evaluation())
        return evaluations

    def draw(self, examples: Sequence[Example], path: Path) -> None:
        """Write a sheet of pictures, their masks and the network's predictions."""
        path.parent.mkdir(exist_ok=True)
        save_examples([(example, example.name) for example in examples], self.predict, path)

    def _measure(self, dataset: Dataset) -> Tally:
        """Score this process's part of a data set: no picture twice, none left out."""
        part = dataset.part(self.world.rank, self.world.size)
        return measure(part, self.predict, self.name, ignore_index=self.ignore_index, progress=self._until_signal)

    def _until_signal(self, examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            if self.signals.received:
                return
            yield example
