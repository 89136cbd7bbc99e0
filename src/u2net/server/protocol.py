"""uvicorn's HTTP/1.1 with two bounds that it lacks: on connections, and on the time that a request's head may take."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from u2net.server.config import ServerConfig


def bounded_protocol(config: ServerConfig) -> type[asyncio.Protocol]:
    """The protocol with a configuration's bounds."""

    class BoundedProtocol(H11Protocol):
        """Closes connections past `max_connections`, and those that need more than `read_timeout_s` for a head."""

        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > config.max_connections:
                transport.abort()
            else:
                self._head_timer = self.loop.call_later(config.read_timeout_s, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
            elif self._head_timer is None:  # the head of a further request has begun
                self._head_timer = self.loop.call_later(config.read_timeout_s, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return BoundedProtocol
