"""Connections: uvicorn's HTTP/1.1 with limits that it lacks, and its refusals as documents like all others."""

from __future__ import annotations

import asyncio
import sys
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import CLOSE_HEADER
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from u2net.errors import reason
from u2net.server.config import ServerConfig
from u2net.server.middleware import SAFE_HEADERS
from u2net.server.monitoring import LOGGER, Metrics
from u2net.server.problems import Problem
from u2net.server.room import too_many_parts
from u2net.system.process import allow_open_files

ACCEPTED_AT_ONCE = 16
"""Connections that are taken from the system in one turn of the event loop: asyncio's `backlog`.

Those past the limit are closed some turns later."""

_OTHER_FILES = 128  # that a process has open besides: models, libraries, pictures that are fetched
_LINGER_S = 2.0
_MOST_SHOWN = 200  # characters of what was wrong; they may be the client's


def max_connections(config: ServerConfig) -> int:
    """As configured, or as many as the system lets the process have, with a warning.

    When it has no descriptor left, asyncio logs that again and again, and the service can neither fetch nor open files.
    """
    others = ACCEPTED_AT_ONCE + _OTHER_FILES
    allowed = allow_open_files(config.max_connections + others)
    if allowed is None or allowed >= config.max_connections + others:
        return config.max_connections
    possible = max(1, allowed - others)
    facts = {"open_files": allowed, "max_connections": possible}
    LOGGER.warning("fewer connections than configured: raise the limit on open files", extra={"facts": facts})
    return possible


class _Connection(h11.Connection):
    """Refuses chunked bodies in so many small chunks that the event loop would do little but find their ends."""

    _num_parts = _num_bytes = 0

    def next_event(self) -> Any:
        """As h11's. Raises RemoteProtocolError."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._num_parts = self._num_bytes = 0
        elif isinstance(event, h11.Data):
            self._num_parts += event.chunk_start
            self._num_bytes += len(event.data)
            if too_many_parts(self._num_parts, self._num_bytes):
                raise h11.RemoteProtocolError("the body has too many small chunks")
        return event


def bounded_protocol(config: ServerConfig, metrics: Metrics) -> type[asyncio.Protocol]:
    """The protocol of a service's connections."""
    most = max_connections(config)
    idle: dict[BoundedProtocol, None] = {}  # those that send no request, the longest ones first

    class BoundedProtocol(H11Protocol):
        """Closes connections that need more than `read_timeout_s` for a head, and for each past the limit an idle one.

        Were the new one closed, a thousand that say nothing would keep everybody out.
        """

        _head_timer: asyncio.TimerHandle | None = None
        _is_refused = False

        def connection_made(self, transport: Any) -> None:
            self.conn = _Connection(h11.SERVER)
            super().connection_made(transport)
            self._head_timer = self.loop.call_later(config.read_timeout_s, transport.abort)
            idle[self] = None
            if len(self.connections) > most:
                longest = next(iter(idle))
                del idle[longest]
                longest.transport.abort()

        def data_received(self, data: bytes) -> None:
            if not self._is_refused:
                super().data_received(data)
            if self._is_refused:
                return
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
                idle.pop(self, None)
            elif self._head_timer is None:  # the head of a further request has begun
                self._head_timer = self.loop.call_later(config.read_timeout_s, self.transport.abort)

        def send_400_response(self, msg: str) -> None:
            """Refuse what is no HTTP; h11 says why, and with which code. Called while its error is handled."""
            error = sys.exception()
            status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
            detail = (reason(error) if isinstance(error, h11.RemoteProtocolError) else msg)[:_MOST_SHOWN]
            request_id = uuid.uuid4().hex
            metrics.requests.labels("none", status).inc()
            facts = {"request_id": request_id, "client": (self.client or ("",))[0], "status": status, "detail": detail}
            LOGGER.info("request", extra={"facts": facts})
            answer = Problem(status, f"this is no valid HTTP: {detail}").response(request_id)
            own = {**SAFE_HEADERS, b"x-request-id": request_id.encode()}
            head = h11.Response(
                status_code=status,
                headers=[*answer.raw_headers, *own.items(), CLOSE_HEADER],
                reason=STATUS_PHRASES[status],
            )
            try:
                for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
                self.transport.write_eof()
                # Were it closed while something comes, the client might never see the answer.
                self.loop.call_later(_LINGER_S, self.transport.abort)
            except h11.LocalProtocolError:  # another answer has begun, or this is for a HEAD
                self.transport.close()
            self._is_refused = True
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True  # so that the application writes nothing more
                self.cycle.message_event.set()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.timeout_keep_alive_task is not None:
                idle[self] = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            idle.pop(self, None)
            super().connection_lost(exc)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return BoundedProtocol
