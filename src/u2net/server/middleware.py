"""How long a request may live and how large it may be: ASGI's two callables, with bounds around them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from u2net.server.problems import Busy, Problem
from u2net.server.service import Service

_FREE_BYTES = 64 * 1024  # of a body, before room is taken for the whole
_PIECE_BYTES = 64 * 1024  # of an answer
_LINGER_S = 2.0


class Lifetime:
    """Middleware that ends what takes too long, is too large, or that nobody waits for.

    A body may be `max_body` long (413) and must come at `min_rate` (408); its answer must begin within `timeout_s`
    (504) and be taken at `min_rate`. Bodies and answers wait for room in memory. When the client has gone, the
    application's task is cancelled. `scope["state"]["holds"]` is an ExitStack that ends with the request.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with ExitStack() as holds:
            scope["state"]["holds"] = holds
            try:
                async with asyncio.timeout(self.service.config.timeout_s) as clock:
                    body = _Body(scope, receive, self.service, clock, holds)
                    answer = _Answer(send, body, self.service, clock)
                    await self._answer(scope, body, answer)
            except TimeoutError:
                if not clock.expired():
                    raise
                raise Busy(504, "the answer took too long", self.service.config.timeout_s) from None

    async def _answer(self, scope: Scope, body: _Body, answer: _Answer) -> None:
        try:
            await self.app(scope, body.receive, answer.send)
        except asyncio.CancelledError:
            if not body.is_client_gone:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            scope["state"]["is_client_gone"] = True
        finally:
            body.stop_watching()


class _Body:
    """The request's body, as the application receives it."""

    def __init__(
        self, scope: Scope, receive: Receive, service: Service, clock: asyncio.Timeout, holds: ExitStack
    ) -> None:
        self.is_client_gone = False
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        self._length = int(length) if length.isdigit() else None
        self.is_complete = self._length in (None, 0) and b"transfer-encoding" not in headers
        self._receive = receive
        self._service = service
        self._clock = clock
        self._holds = holds
        self._num_bytes = self._num_taken = 0
        self._deadline: float | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._owner = asyncio.current_task()

    async def receive(self) -> Message:
        """The next part. Raises Problem when it comes too late or is too much."""
        config = self._service.config
        if self._watcher is not None:
            await asyncio.wait([self._watcher])  # it is cancelled where the answer has ended, which is an end too
            return {"type": "http.disconnect"}
        if max(self._length or 0, self._num_bytes) > config.max_body:
            raise Problem(413, f"a request may have {config.max_body:,} bytes")
        if self._deadline is None:
            self._deadline = _after(config.read_timeout_s)
            self._clock.reschedule(None)  # from here on there are other deadlines, until the whole has come
        try:
            async with asyncio.timeout_at(self._deadline + self._num_bytes / config.min_rate):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "the request came too slowly") from None
        if message["type"] != "http.request":
            self.is_client_gone = True
            raise asyncio.CancelledError
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > config.max_body:
            raise Problem(413, f"a request may have {config.max_body:,} bytes")
        if self._num_bytes > _FREE_BYTES and not self._num_taken:
            await self._take_room()
        if not message.get("more_body", False):
            self.is_complete = True
            self._clock.reschedule(_after(config.timeout_s))
            self._watcher = asyncio.create_task(self._watch())
        return message

    async def discard(self) -> None:
        """Read on for a while and throw away: closed at once, the client might never see the answer."""
        try:
            async with asyncio.timeout(_LINGER_S):
                message: Message = {"type": "http.request", "more_body": True}
                while message["type"] == "http.request" and message.get("more_body", False):
                    message = await self._receive()
        except TimeoutError:
            pass

    def stop_watching(self) -> None:
        """The answer has ended, or will not come."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _take_room(self) -> None:
        """Wait for room for the whole: a client that shows that it sends gets it, and those that dawdle need none."""
        config = self._service.config
        self._num_taken = min(self._length or config.max_body, config.max_body)
        waiting = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(config.timeout_s):
                await self._service.bodies.take(self._num_taken)
        except TimeoutError:
            self._num_taken = 0
            raise Busy(429, "too many requests are being read", config.timeout_s) from None
        self._holds.callback(self._service.bodies.give, self._num_taken)
        assert self._deadline is not None
        self._deadline += asyncio.get_running_loop().time() - waiting

    async def _watch(self) -> None:
        """Cancel the application's task when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_client_gone = True
        if self._owner is not None:
            self._owner.cancel()


class _Answer:
    """What the application sends, on its way to the client."""

    def __init__(self, send: Send, body: _Body, service: Service, clock: asyncio.Timeout) -> None:
        self._send = send
        self._body = body
        self._service = service
        self._clock = clock
        self._num_bytes = 0
        self._start = 0.0

    async def send(self, message: Message) -> None:
        """Send, in pieces that the client must take in time."""
        config = self._service.config
        if message["type"] == "http.response.start":
            self._start = _after(0)
            self._clock.reschedule(_after(config.read_timeout_s))
            if not self._body.is_complete:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await self._send(message)
            return
        content, is_last = message.get("body", b""), not message.get("more_body", False)
        pieces = [content[start : start + _PIECE_BYTES] for start in range(0, len(content), _PIECE_BYTES)] or [b""]
        for number, piece in enumerate(pieces, 1):
            more = number < len(pieces) or not is_last or not self._body.is_complete
            if not more:
                self._body.stop_watching()
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})
            self._num_bytes += len(piece)
            self._clock.reschedule(self._start + config.read_timeout_s + self._num_bytes / config.min_rate)
        if is_last and not self._body.is_complete:
            await self._body.discard()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _after(seconds: float) -> float:
    """By the event loop's clock."""
    return asyncio.get_running_loop().time() + seconds
