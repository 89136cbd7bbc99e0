"""What all measures have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter

from u2net.metrics.pair import Pair


class Measure(ABC):
    """Scores pairs one by one and keeps sums only: memory does not grow with their number."""

    @abstractmethod
    def step(self, pair: Pair) -> dict[str, float]:
        """Take a pair in; give the scores of this pair alone, by name."""

    @abstractmethod
    def results(self) -> dict[str, float]:
        """Scores of all pairs so far, of which there is at least one, by name."""


class PictureMeasure(Measure):
    """A measure whose score of a set is the mean of the scores of its pairs."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._num_pairs = 0

    @abstractmethod
    def score(self, pair: Pair) -> dict[str, float]:
        """The scores of one pair, by name."""

    def step(self, pair: Pair) -> dict[str, float]:
        """Take a pair in; give its scores."""
        return self._add(self.score(pair))

    def _add(self, scores: dict[str, float]) -> dict[str, float]:
        for name, value in scores.items():
            self._sums[name] += value  # type: ignore[assignment]
        self._num_pairs += 1
        return scores

    def results(self) -> dict[str, float]:
        """Mean scores."""
        return {name: total / self._num_pairs for name, total in self._sums.items()}
