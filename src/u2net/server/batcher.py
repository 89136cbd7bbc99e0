"""Dynamic batching: pictures that threads submit within a few milliseconds go through the network together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from u2net.errors import SessionClosed, U2NetError
from u2net.models.transform import Backend

Floats = NDArray[np.float32]


class GivenUp(U2NetError):
    """Nobody waits for the result any more."""


@dataclass(frozen=True)
class _Ask:
    """What one thread waits for."""

    batch: Floats
    is_wanted: Callable[[], bool]
    answer: Future[Floats] = field(default_factory=Future)


class Batcher:
    """A backend around another, for many threads to call. A thread of its own runs the network.

    A batch is run when it has `max_batch` pictures, or `max_delay_s` after its first came. If it fails, its halves are
    run, and theirs: smaller batches may fit into memory, and a picture that cannot be run fails alone.
    """

    def __init__(
        self, backend: Backend, *, max_batch: int, max_delay_s: float, watch: Callable[[int], None] = lambda _: None
    ) -> None:
        """`watch` is called with the number of pictures of each batch."""
        self._backend = backend
        self._max_batch = max_batch
        self._max_delay_s = max_delay_s
        self._watch = watch
        self._asked: queue.SimpleQueue[_Ask | None] = queue.SimpleQueue()
        self._is_closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="u2net-network", daemon=True)
        self._thread.start()

    def __call__(self, batch: Floats, is_wanted: Callable[[], bool] = lambda: True) -> Floats:
        """float32 (B, 3, H, W) to (B, C, H, W). Waits.

        Raises what the network does, GivenUp if `is_wanted` is false when its turn comes, SessionClosed after `close`.
        """
        ask = _Ask(batch, is_wanted)
        with self._closing:
            if self._is_closed:
                raise SessionClosed("the session is closed")
            self._asked.put(ask)
        return ask.answer.result()

    def close(self) -> None:
        """Run what was submitted, then end the thread; later calls raise SessionClosed."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                self._asked.put(None)  # the last there is
        self._thread.join()

    def _run(self) -> None:
        while (first := self._asked.get()) is not None:
            wanted = []
            for ask in self._collect(first):
                if ask.is_wanted():
                    wanted.append(ask)
                else:
                    ask.answer.set_exception(GivenUp("nobody waits for this picture"))
            if wanted:
                self._answer(wanted)

    def _collect(self, first: _Ask) -> list[_Ask]:
        asks, num = [first], len(first.batch)
        deadline = time.monotonic() + self._max_delay_s
        while num < self._max_batch:
            try:
                ask = self._asked.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if ask is None:
                self._asked.put(None)  # for _run to see after this batch
                break
            asks.append(ask)
            num += len(ask.batch)
        return asks

    def _answer(self, asks: list[_Ask]) -> None:
        batch = asks[0].batch if len(asks) == 1 else np.concatenate([ask.batch for ask in asks])
        self._watch(len(batch))
        try:
            outputs = self._backend(batch)
            if len(outputs) != len(batch):
                raise ValueError(f"the network gave {len(outputs)} maps for {len(batch)} pictures")
        except Exception as error:
            if len(asks) == 1:
                asks[0].answer.set_exception(error)
                return
            del batch
        else:
            for ask in asks:
                ask.answer.set_result(outputs[: len(ask.batch)])
                outputs = outputs[len(ask.batch) :]
            return
        # Outside of the handler, whose exception would keep the failed batch's memory.
        self._answer(asks[: len(asks) // 2])
        self._answer(asks[len(asks) // 2 :])
