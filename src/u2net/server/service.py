"""The service without HTTP: models that are open, a bounded pool of threads, and the way of a picture through them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from u2net import __version__
from u2net.errors import ImageTooLarge
from u2net.images.load import Limits, Picture, load_image
from u2net.inference.open import new_session
from u2net.inference.session import Session
from u2net.server.batcher import Batcher, GivenUp
from u2net.server.config import ServerConfig
from u2net.server.metrics import Metrics
from u2net.server.problems import Busy, Problem
from u2net.server.room import Room

Finish = Callable[[Picture, Session], "Made"]
"""What makes an answer of a decoded picture; runs in the pool."""

_STEPS = 5  # a picture is given the room of 1/16, 1/8, … of the largest, the first that it fits


@dataclass(frozen=True)
class Made:
    """An answer."""

    content: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Task:
    """One picture on its way."""

    holds: ExitStack
    """Ends with the request; gives back the room that the answer takes until it is sent."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent in each stage."""
    is_given_up: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits any more."""

    def check(self) -> None:
        """Raise GivenUp if nobody waits."""
        if self.is_given_up.is_set():
            raise GivenUp("nobody waits for this picture")


class _LargerThanRoom(Exception):
    """The picture has more pixels than the room that was taken for it."""


@dataclass(frozen=True)
class _Model:
    session: Session
    batcher: Batcher


class Service:
    """What one process does. `open` and `close` are for one thread; all else is for one event loop."""

    def __init__(self, config: ServerConfig, open_model: Callable[..., Session] = new_session) -> None:
        """`open_model` takes a name or path, `runtime` and `threads`, and gives a session."""
        self.config = config
        self.metrics = Metrics()
        self.is_draining = False
        self.num_in_flight = 0
        """Requests that are being answered, those about the service itself left out."""
        self.bodies, self.answers = Room(config.bodies_at_once), Room(config.bodies_at_once)
        self._pixels = Room(config.pixels_at_once)
        self._open_model = open_model
        self._models: dict[str, _Model] = {}
        self._pool = ThreadPoolExecutor(config.pool_size, "u2net-pool")
        self._num_pictures = 0
        self._mean_seconds = 0.5
        parts = (2**power for power in reversed(range(_STEPS)))
        self._steps = [replace(config.limits, max_pixels=-(-config.max_pixels // part)) for part in parts]

    # ---- Beginning and end ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open every model, and run each once. Raises what `new_session` does."""
        config = self.config
        max_batch = config.max_batch or (8 if has_gpu() else 1)
        for name, source in config.offered.items():
            session = self._open_model(source, runtime=config.runtime, threads=config.num_threads)
            width, height = session.card.transform.size
            for num in sorted({1, max_batch}):  # the largest batch now, so that memory does not grow later
                session.backend(np.zeros((num, 3, height, width), dtype=np.float32))
            batcher = Batcher(
                session.backend,
                max_batch=max_batch,
                max_delay_s=config.max_delay_ms / 1000,
                watch=self.metrics.batch_size.observe,
            )
            self._models[name] = _Model(session, batcher)
            self.metrics.model.labels(name, __version__).set(1)

    def close(self) -> None:
        """End the threads and let go of the models; what is being worked on is finished."""
        self._pool.shutdown(cancel_futures=True)
        for model in self._models.values():
            model.batcher.close()
            model.session.close()
        self._models.clear()

    @property
    def is_open(self) -> bool:
        """Whether the models are."""
        return bool(self._models)

    def check(self) -> None:
        """Raise Busy unless a request would be accepted."""
        if self.is_draining:
            raise Busy(503, "the service is about to end")
        if not self.is_open:
            raise Busy(503, "the service is starting", 2)
        self._check_queue()

    def _check_queue(self) -> None:
        if self._num_pictures >= self.config.pool_size + self.config.queue:
            seconds = self._num_pictures * self._mean_seconds / self.config.pool_size
            raise Busy(429, f"{self._num_pictures} pictures are waiting, which is the most", seconds)

    def model(self, name: str | None) -> str:
        """The name of the model to take. Raises Problem for one that is not offered."""
        offered = list(self.config.offered)
        if name is not None and name not in offered:
            raise Problem(400, f"model is one of {', '.join(offered)}")
        return name or offered[0]

    # ---- The way of a picture ------------------------------------------------------------------------------------

    async def run(self, data: bytes, model: str, finish: Finish, task: Task, num_more_pixels: int = 0) -> Made:
        """Decode a picture and finish it, in the pool; `num_more_pixels` are those of others that `finish` decodes.

        Raises Busy, and what `load_image` and `finish` do. When cancelled, what was begun ends by itself soon.
        """
        self._check_queue()  # not whether the service is to end: this request came before
        self._count(1)
        work = asyncio.create_task(self._work(data, self._models[model], finish, task, num_more_pixels))
        work.add_done_callback(self._forget)
        try:
            made = await asyncio.shield(work)
        except asyncio.CancelledError:
            task.is_given_up.set()
            work.cancel()
            work.add_done_callback(self._give_back)
            raise
        task.holds.callback(self._give_back, work)
        return made

    def _give_back(self, work: asyncio.Task[Made]) -> None:
        if not work.cancelled() and work.exception() is None:
            self.answers.give(self._room_for(work.result()))

    def _room_for(self, made: Made) -> int:
        return min(len(made.content), self.config.bodies_at_once)

    def _count(self, difference: int) -> None:
        self._num_pictures += difference
        self.metrics.pictures.inc(difference)

    def _forget(self, work: asyncio.Task[Made]) -> None:
        self._count(-1)
        if not work.cancelled():
            work.exception()  # else asyncio complains where nobody waits for it any more

    async def _work(self, data: bytes, model: _Model, finish: Finish, task: Task, num_more_pixels: int) -> Made:
        start = time.monotonic()
        for limits in self._steps:
            async with self._room(min(limits.max_pixels + num_more_pixels, self.config.pixels_at_once)):
                try:
                    made = await self._in_pool(partial(self._make, data, limits, model, finish, task, start))
                except _LargerThanRoom:
                    continue
                # Before the picture's room is given back: where clients take nothing, nothing more is made.
                await self.answers.take(self._room_for(made))
            self._mean_seconds += 0.1 * (sum(task.seconds.values()) - task.seconds["wait"] - self._mean_seconds)
            return made
        raise AssertionError("the last step takes the largest picture, or says what is wrong with it")

    def _make(self, data: bytes, limits: Limits, model: _Model, finish: Finish, task: Task, start: float) -> Made:
        task.check()
        begun = time.monotonic()
        try:
            picture = load_image(data, limits)
        except ImageTooLarge:
            if limits is not self._steps[-1]:
                raise _LargerThanRoom from None
            raise
        decoded = time.monotonic()
        task.check()

        def run_network(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            entered = time.monotonic()
            try:
                return model.batcher(batch, lambda: not task.is_given_up.is_set())
            finally:
                task.seconds["network"] = task.seconds.get("network", 0.0) + time.monotonic() - entered

        made = finish(picture, Session(run_network, model.session.card))
        ended = time.monotonic()
        task.seconds |= {"wait": begun - start, "decode": decoded - begun}
        task.seconds["encode"] = ended - decoded - task.seconds.get("network", 0.0)
        for stage, seconds in task.seconds.items():
            self.metrics.stage_seconds.labels(stage).observe(seconds)
        return made

    async def _in_pool(self, work: Callable[[], Made]) -> Made:
        """Run in a thread. Cancelled, it returns only when the thread has done, for its memory is in use till then."""
        future: Future[Made] = self._pool.submit(work)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait([waiting])
                waiting.exception()
            raise

    @asynccontextmanager
    async def _room(self, num_pixels: int) -> AsyncIterator[None]:
        await self._pixels.take(num_pixels)
        try:
            yield
        finally:
            self._pixels.give(num_pixels)


def has_gpu() -> bool:
    """Whether the runtime that opens ONNX models would run them on one."""
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
