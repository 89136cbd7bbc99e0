"""The outermost middleware: every request gets an id, safe headers, one line of log, and is counted."""

from __future__ import annotations

import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from u2net.server.monitoring import LOGGER, log_request
from u2net.server.problems import to_problem
from u2net.server.service import Service

ABOUT_ITSELF = frozenset(("/healthz", "/readyz", "/metrics", "/version"))
"""Paths that a service answers as long as it lives; they are logged at debug level only."""

_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
}


class Watch:
    """Middleware that sees a request from its head to its answer's end; what was raised past all others is a 500."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = _Sent(send, _request_id(scope))
        scope.setdefault("state", {})["request_id"] = sent.request_id
        is_work = scope["path"] not in ABOUT_ITSELF
        self.service.num_in_flight += is_work
        start = time.monotonic()
        try:
            with self.service.metrics.in_flight.track_inprogress():
                await self.app(scope, receive, sent.send)
        except Exception as error:
            problem = to_problem(error)
            if problem.status == 500:
                LOGGER.exception("a request failed", extra={"facts": {"request_id": sent.request_id}})
            if not sent.status:
                await problem.response(sent.request_id)(scope, receive, sent.send)
        finally:
            self.service.num_in_flight -= is_work
            self._tell(scope, sent, time.monotonic() - start)

    def _tell(self, scope: Scope, sent: _Sent, seconds: float) -> None:
        # Of paths only those that exist are told apart, for each label is kept.
        route = getattr(scope.get("route"), "path", "none")
        code = 499 if scope["state"].get("is_client_gone") else sent.status  # nginx's number
        self.service.metrics.requests.labels(route, code).inc()
        self.service.metrics.request_seconds.labels(route).observe(seconds)
        if scope["path"] in ABOUT_ITSELF and code < 400:
            return
        log_request(
            request_id=sent.request_id,
            client=(scope.get("client") or ("",))[0],
            method=scope["method"],
            path=scope["path"][:200],  # without the query, which may hold what was signed
            status=code,
            bytes=sent.num_bytes,
            ms=round(seconds * 1000, 1),
            **scope["state"].get("facts", {}),
        )


class _Sent:
    """What has been sent of an answer."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.status = 0
        self.num_bytes = 0
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            present = {name.lower() for name, _ in headers}
            added = {**_HEADERS, b"x-request-id": self.request_id.encode()}
            message["headers"] = headers + [pair for pair in added.items() if pair[0] not in present]
        else:
            self.num_bytes += len(message.get("body", b""))
        await self._send(message)


def _request_id(scope: Scope) -> str:
    """The client's or proxy's own, if it is harmless, else a new one."""
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if re.fullmatch(r"[\w.-]{1,64}", given, re.ASCII) else uuid.uuid4().hex
