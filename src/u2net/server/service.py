"""The service without HTTP: open models, a bounded pool of threads, and the way of a picture through them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from u2net import __version__
from u2net.errors import ImageTooLarge
from u2net.images.limits import Limits
from u2net.images.load import load_image
from u2net.images.picture import Picture
from u2net.inference.choose import has_gpu
from u2net.inference.open import new_session
from u2net.inference.session import Session
from u2net.server.batcher import Batcher, GivenUp
from u2net.server.config import ServerConfig
from u2net.server.monitoring import Metrics
from u2net.server.problems import Busy, Problem
from u2net.server.room import Hold, Room

Finish = Callable[[Picture, Session], "Made"]
"""Makes an answer from a decoded picture; runs in the pool."""

_SMALL = 64 * 1024  # bytes of an answer that take no room
_HURRY = 64  # times min_rate: what clients must send or read when there is too little room
_STEPS = 5  # a picture is tried in the room of 1/16, 1/8, … of the largest; the first that fits is kept


@dataclass(frozen=True)
class Made:
    """An answer."""

    content: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Task:
    """One picture on its way through the service."""

    answer: Hold
    """The room that the answer takes, which the request gives back at its end."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent in each stage."""
    is_given_up: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits for the answer any more."""

    def check(self) -> None:
        """Raise GivenUp if nobody waits for the answer."""
        if self.is_given_up.is_set():
            raise GivenUp("nobody waits for this picture")


class _LargerThanRoom(Exception):
    """The picture has more pixels than the room that was taken for it."""


@dataclass(frozen=True)
class _Model:
    session: Session
    batcher: Batcher


class Service:
    """The work of one process. Call `open` and `close` from one thread, all else from one event loop."""

    def __init__(self, config: ServerConfig, open_model: Callable[..., Session] = new_session) -> None:
        """`open_model` takes a name or path, `runtime` and `threads`, and gives a session."""
        self.config = config
        self.metrics = Metrics()
        self.is_draining = False
        self.num_in_flight = 0
        """Requests that are being answered, those about the service itself left out."""
        self.bodies = Room(config.bodies_at_once, config.max_body, _HURRY * config.min_rate)
        self.answers = Room(config.bodies_at_once, 0, _HURRY * config.min_rate)
        self._pixels = Room(config.pixels_at_once)
        self._open_model = open_model
        self._models: dict[str, _Model] = {}
        self._pool = ThreadPoolExecutor(config.pool_size, "u2net-pool")
        self._num_pictures = 0
        self._mean_seconds = 0.5
        parts = (2**power for power in reversed(range(_STEPS)))
        self._steps = [replace(config.limits, max_pixels=-(-config.max_pixels // part)) for part in parts]

    # ---- Start and end -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open every model and run it once. Raises what `new_session` does."""
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
        """Finish what is being worked on, then end the threads and close the models."""
        self._pool.shutdown(cancel_futures=True)
        for model in self._models.values():
            model.batcher.close()
            model.session.close()
        self._models.clear()

    @property
    def is_open(self) -> bool:
        """Whether the models are open."""
        return bool(self._models)

    def check(self) -> None:
        """Raise Busy unless a request would be accepted."""
        if self.is_draining:
            raise Busy(503, "the service is about to end")
        if not self.is_open:
            raise Busy(503, "the service is starting", 2)
        self._check_queue()

    def check_room(self) -> None:
        """Raise Busy while requests wait for room. They are accepted all the same: small ones need none."""
        if self.bodies.is_short or self.answers.is_short:
            raise Busy(429, "requests wait for room in memory")

    def _check_queue(self) -> None:
        if self._num_pictures >= self.config.pool_size + self.config.queue:
            seconds = self._num_pictures * self._mean_seconds / self.config.pool_size
            raise Busy(429, f"{self._num_pictures} pictures are waiting, which is the limit", seconds)

    def model(self, name: str | None) -> str:
        """The name of the model to take. Raises Problem for one that is not offered."""
        offered = list(self.config.offered)
        if name is not None and name not in offered:
            raise Problem(400, f"model must be one of {', '.join(offered)}")
        return name or offered[0]

    # ---- The way of a picture ------------------------------------------------------------------------------------

    async def run(self, data: bytes, model: str, finish: Finish, task: Task, num_more_pixels: int = 0) -> Made:
        """Decode a picture and finish it in the pool; `num_more_pixels` is what `finish` decodes besides.

        Raises Busy, and what `load_image` and `finish` do. After cancellation, work that was begun soon ends by itself.
        """
        self._check_queue()  # even while the service drains: this request came before
        self._num_pictures += 1
        self.metrics.pictures.inc()
        work = asyncio.create_task(self._work(data, self._models[model], finish, task, num_more_pixels))
        work.add_done_callback(self._forget)
        try:
            made = await asyncio.shield(work)
        except asyncio.CancelledError:
            task.is_given_up.set()
            work.cancel()
            work.add_done_callback(lambda _: task.answer.close())
            raise
        return made

    def _forget(self, work: asyncio.Task[Made]) -> None:
        self._num_pictures -= 1
        self.metrics.pictures.dec()
        if not work.cancelled():
            work.exception()  # otherwise asyncio complains when nobody waits for it any more

    async def _work(self, data: bytes, model: _Model, finish: Finish, task: Task, num_more_pixels: int) -> Made:
        start = time.monotonic()
        for limits in self._steps:
            num_pixels = min(limits.max_pixels + num_more_pixels, self.config.pixels_at_once)
            await self._pixels.take(num_pixels)
            try:
                made = await self._in_pool(partial(self._make, data, limits, model, finish, task, start))
                # Before the picture's room is given back: while clients read no answers, no more are made.
                num_bytes = len(made.content)
                await task.answer.take(min(num_bytes, self.config.bodies_at_once) if num_bytes > _SMALL else 0)
            except _LargerThanRoom:
                continue
            finally:
                self._pixels.give(num_pixels)
            self._mean_seconds += 0.1 * (sum(task.seconds.values()) - task.seconds["wait"] - self._mean_seconds)
            return made
        raise AssertionError("the last step takes the largest picture or raises")

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
        """Run in a thread. Cancelled, it returns only when the thread has ended: its memory is in use until then."""
        future: Future[Made] = self._pool.submit(work)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait([waiting])
                waiting.exception()
            raise
