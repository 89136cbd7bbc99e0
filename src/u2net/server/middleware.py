"""The middleware around the application: a record of every request, limits on its size and time, HEAD."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from u2net.server.monitoring import LOGGER
from u2net.server.problems import Busy, Problem, to_problem
from u2net.server.room import Hold
from u2net.server.service import Service

ABOUT_ITSELF = frozenset(("/healthz", "/readyz", "/metrics", "/version"))
"""Paths that are answered as long as the process lives; logged at debug level only, and never counted as work."""

SAFE_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
}
_ROOM_BYTES = 64 * 1024  # of a body that take no room, and for which more is taken at a time
_PIECE_BYTES = 64 * 1024  # of an answer
_LINGER_S = 2.0


class Watch:
    """Outermost middleware: a request id, safe headers, one line of log and the counters; unexpected errors are 500."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # The client's or proxy's own id if it is harmless, else a new one.
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = num_bytes = 0

        async def send_on(message: Message) -> None:
            nonlocal status, num_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", []))
                present = {name.lower() for name, _ in headers}
                added = {**SAFE_HEADERS, b"x-request-id": request_id.encode()}
                message["headers"] = headers + [pair for pair in added.items() if pair[0] not in present]
            else:
                num_bytes += len(message.get("body", b""))
            await send(message)

        is_work = scope["path"] not in ABOUT_ITSELF
        self.service.num_in_flight += is_work
        start = time.monotonic()
        try:
            with self.service.metrics.in_flight.track_inprogress():
                await self.app(scope, receive, send_on)
        except Exception as error:
            problem = to_problem(error)
            if problem.status == 500:
                LOGGER.exception("a request failed", extra={"facts": {"request_id": request_id}})
            if not status:
                await problem.response(request_id)(scope, receive, send_on)
        finally:
            self.service.num_in_flight -= is_work
            self._record(scope, status, num_bytes, time.monotonic() - start)

    def _record(self, scope: Scope, status: int, num_bytes: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")  # never an unknown path: every label stays in memory
        code = 499 if scope["state"].get("is_client_gone") else status  # nginx's number
        self.service.metrics.requests.labels(route, code).inc()
        self.service.metrics.request_seconds.labels(route).observe(seconds)
        if scope["path"] in ABOUT_ITSELF and code < 400:
            return
        facts = {
            "request_id": scope["state"]["request_id"],
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"][:20],
            "path": scope["path"][:200],  # without the query, which may hold signatures
            "status": code,
            "bytes": num_bytes,
            "ms": round(seconds * 1000, 1),
            **scope["state"].get("facts", {}),
        }
        LOGGER.info("request", extra={"facts": facts})


class Head:
    """Middleware that answers HEAD as GET, whose headers it has; servers leave the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}
        try:
            await self.app(asked, receive, send)
        finally:
            scope["route"] = asked.get("route")  # for `Watch`


class Lifetime:
    """Middleware that ends requests that are too large, too slow, or whose client has gone.

    A body may be `max_body` long (413) and must come at `min_rate` (408); its answer must begin within `timeout_s`
    (504) and be taken at `min_rate`. What comes of a body and what an answer has wait for room in memory; when there is
    too little, the slowest clients are ended. When the client has gone, the application's task is cancelled.
    `scope["state"]` has the holds `body` and `answer`, which end with the request.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        timeout_s = self.service.config.timeout_s
        try:
            async with asyncio.timeout(timeout_s) as clock:
                await _Exchange(scope, receive, send, self.service, clock).run(self.app)
        except TimeoutError:
            if not clock.expired():
                raise
            raise Busy(504, "the answer took too long", timeout_s) from None


class _Exchange:
    """One request's body on its way to the application, and the answer on its way back."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, service: Service, clock: asyncio.Timeout) -> None:
        headers = dict(scope["headers"])
        length, is_chunked = headers.get(b"content-length", b""), b"transfer-encoding" in headers
        self._length = int(length) if length.isdigit() and not is_chunked else None
        self._is_body_complete = self._length in (None, 0) and not is_chunked
        # Who wrote both may have meant another end (RFC 9112, 6.1): what follows must be no request.
        self._is_last = bool(length) and is_chunked
        self._scope, self._receive, self._send = scope, receive, send
        self._config = service.config
        self._clock = clock
        self._upload_clock: asyncio.Timeout | None = None
        self._body = scope["state"]["body"] = Hold(service.bodies, self._end_upload)
        self._answer = scope["state"]["answer"] = Hold(service.answers, lambda: self._clock.reschedule(_after(0)))
        self._num_received = self._num_sent = 0
        self._body_deadline: float | None = None
        self._answer_start = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self._owner = asyncio.current_task()

    async def run(self, app: ASGIApp) -> None:
        """Answer the request. Raises Problem, and TimeoutError when the clock expires."""
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._scope["state"].get("is_client_gone"):
                raise
            assert self._owner is not None
            self._owner.uncancel()
        finally:
            self._stop_watching()
            self._body.close()
            self._answer.close()

    # ---- The body ------------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next part. Raises Problem when it comes too late or is too large."""
        config = self._config
        if self._watcher is not None:
            await asyncio.wait([self._watcher])  # cancelled once the answer has ended, which is an end too
            return {"type": "http.disconnect"}
        self._check_length(self._length or 0)
        if self._body_deadline is None:
            self._body_deadline = _after(config.read_timeout_s)
            self._clock.reschedule(None)  # until the whole has come, the deadline below replaces this clock
            self._body.begin()
        try:
            message = await self._next_part(self._body_deadline + self._num_received / config.min_rate)
            start = _after(0)
            self._check_length(self._num_received)
            await self._take_room()
            self._body_deadline += _after(0) - start
        except Problem:
            self._body.close()  # whoever reads bodies lets go of what came
            raise
        if not message.get("more_body", False):
            self._body.stop()
            self._is_body_complete = True
            self._clock.reschedule(_after(config.timeout_s))
            self._watcher = asyncio.create_task(self._watch())
        return message

    async def _next_part(self, deadline: float) -> Message:
        try:
            async with asyncio.timeout_at(deadline) as self._upload_clock:
                message = await self._receive()
        except TimeoutError:
            if self._body.is_ended:
                raise Busy(429, "too many requests are being read, and this one came slowly", 5) from None
            raise Problem(408, "the request came too slowly") from None
        finally:
            self._upload_clock = None
        if message["type"] != "http.request":
            self._scope["state"]["is_client_gone"] = True
            raise asyncio.CancelledError
        num_bytes = len(message.get("body", b""))
        self._num_received += num_bytes
        self._body.move(num_bytes)
        return message

    def _end_upload(self) -> None:
        if self._upload_clock is not None:
            self._upload_clock.reschedule(_after(0))

    def _check_length(self, num_bytes: int) -> None:
        if num_bytes > (most := self._config.max_body):
            raise Problem(413, f"a request may have {most:,} bytes")

    async def _take_room(self) -> None:
        """Wait for room for what has come: slow clients that have sent little hold little."""
        if self._num_received <= max(_ROOM_BYTES, self._body.num_taken):
            return
        num_parts = -(-(self._num_received - self._body.num_taken) // _ROOM_BYTES)
        try:
            async with asyncio.timeout(self._config.timeout_s):
                await self._body.take(num_parts * _ROOM_BYTES)
        except TimeoutError:
            raise Busy(429, "too many requests are being read", self._config.timeout_s) from None

    async def _watch(self) -> None:
        """Cancel the application's task when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._scope["state"]["is_client_gone"] = True
        if self._owner is not None:
            self._owner.cancel()

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    # ---- The answer ----------------------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Send, in pieces that the client must take in time."""
        config = self._config
        if message["type"] == "http.response.start":
            self._answer_start = _after(0)
            self._clock.reschedule(_after(config.read_timeout_s))
            self._body.close()  # of which nothing is kept by now
            self._answer.begin()
            if self._is_last or not self._is_body_complete:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await self._send(message)
            return
        content, is_last = message.get("body", b""), not message.get("more_body", False)
        for start in range(0, len(content) or 1, _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            more = start + len(piece) < len(content) or not is_last or not self._is_body_complete
            if not more:
                self._stop_watching()
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})
            self._num_sent += len(piece)
            self._answer.move(len(piece))
            self._clock.reschedule(self._answer_start + config.read_timeout_s + self._num_sent / config.min_rate)
        if is_last:
            self._answer.stop()
        if is_last and not self._is_body_complete:
            await self._discard()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _discard(self) -> None:
        """Read on for a while and throw away: if it were closed at once, the client might never see the answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                message: Message = {"type": "http.request", "more_body": True}
                while message["type"] == "http.request" and message.get("more_body", False):
                    message = await self._receive()


def _after(seconds: float) -> float:
    """By the event loop's clock."""
    return asyncio.get_running_loop().time() + seconds
