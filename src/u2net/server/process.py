"""One process of the service: uvicorn around the application, and an end that loses nothing."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from u2net.errors import U2NetError, reason
from u2net.server.app import new_app
from u2net.server.config import ServerConfig
from u2net.server.monitoring import LOGGER, configure_logs
from u2net.server.protocol import bounded_protocol
from u2net.server.service import Service
from u2net.system import bound_heaps

_ENDING_S = 2  # for what is still being sent; the rest is waited for before


class Server(uvicorn.Server):
    """At a signal it refuses what is new, finishes what it has, and ends; at a second one it ends at once.

    So it does, too, when its supervisor was killed: nobody else would ever end it.
    """

    def __init__(self, config: uvicorn.Config, service: Service, when_told: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._when_told = when_told
        self._told = 0.0
        """When it was told to end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Note that the end has come, or end."""
        if self._service.is_draining or not self.started:
            os._exit(128 + sig)
        self._drain()

    def _drain(self) -> None:
        self._service.is_draining = True
        self._told = time.monotonic()
        self._when_told()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening; asked ten times a second."""
        supervisor = multiprocessing.parent_process()
        if not self._service.is_draining and supervisor is not None and not supervisor.is_alive():
            LOGGER.warning("ending: the process that looked after this one is gone")
            self._drain()
        if self._service.is_draining:
            config, waited_s = self._service.config, time.monotonic() - self._told
            is_idle = self._service.num_in_flight == 0
            if (is_idle and waited_s >= config.drain_delay_s) or waited_s >= config.drain_timeout_s:
                LOGGER.info("ending", extra={"facts": {"lost": self._service.num_in_flight}})
                return True
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say where."""
        start = time.monotonic()
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()[:2]
        facts = {"host": host, "port": port, "seconds": round(time.monotonic() - start, 2)}
        LOGGER.info("ready", extra={"facts": facts})


def listen(config: ServerConfig) -> socket.socket:
    """A socket that is bound, not yet listening. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    bound.set_inheritable(True)
    return bound


def new_server(app: FastAPI, config: ServerConfig, when_told: Callable[[], None] = lambda: None) -> Server:
    """uvicorn, bounded as configured, around an application that is not started yet.

    `when_told` is called once it has been told to end.
    """
    return Server(
        uvicorn.Config(
            app,
            http=bounded_protocol(config),
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(1, round(config.keep_alive_s)),
            timeout_graceful_shutdown=_ENDING_S,
        ),
        app.state.service,
        when_told,
    )


def serve(config: ServerConfig, bound: socket.socket) -> None:
    """Serve until a signal. Exits with 1 and a line of log if it cannot start."""
    configure_logs(config.log_level)
    bound_heaps()
    sys.setswitchinterval(0.001)  # of the usual 0.005 each thread of the pool would let the event loop wait
    try:
        app = new_app(config)
        app.state.service.open()
    except (U2NetError, OSError, ValueError) as error:
        LOGGER.error("cannot start: %s", reason(error))
        sys.exit(1)

    def end_in_time() -> None:
        # Whatever may hang at the end: threads of a runtime, a connection that nobody closes.
        last = threading.Timer(config.drain_timeout_s + _ENDING_S, os._exit, (0,))
        last.daemon = True
        last.start()

    new_server(app, config, end_in_time).run([bound])
