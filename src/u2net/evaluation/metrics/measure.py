"""What all measures have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Self

from u2net.evaluation.metrics.pair import Pair


class Sums(ABC):
    """Keeps sums only: memory does not grow with what is taken in, and sums of parts are those of the whole.

    They lie in attributes whose names begin with an underscore; what else an object knows is the same for all parts.
    """

    @abstractmethod
    def results(self) -> dict[str, float]:
        """Scores of all that was taken in so far, of which there is something, by name."""

    def merge(self, other: Self) -> None:
        """Add what another took in. Raises TypeError for one of another kind."""
        if type(self) is not type(other):
            raise TypeError(f"{type(other).__name__} cannot be merged into {type(self).__name__}")
        for name in filter(lambda name: name.startswith("_"), vars(other)):
            mine, added = getattr(self, name), getattr(other, name)
            if isinstance(mine, Counter):
                mine.update(added)  # since + would drop sums of 0
            else:
                setattr(self, name, mine + added)


class Measure(Sums):
    """Scores pairs one by one."""

    @abstractmethod
    def step(self, pair: Pair) -> dict[str, float]:
        """Take a pair in; give the scores of this pair alone, by name."""


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
