"""The processes of the service: uvicorn with limits that it lacks, several workers, and an end that loses nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

import uvicorn
from fastapi import FastAPI

from u2net.errors import U2NetError, reason
from u2net.server.app import new_app
from u2net.server.config import ServerConfig
from u2net.server.connections import ACCEPTED_AT_ONCE, bounded_protocol
from u2net.server.monitoring import LOGGER, SHARED, configure_logs, name_metrics, renew_metrics
from u2net.server.service import Service
from u2net.system.process import bound_heaps

_ENDING_S = 2  # for the rest of answers that are being sent; requests are waited for before
_YOUNG_S = 5.0
_PAUSE_S = 1.0
_WAITING = 2048  # connections that the system keeps until they are taken; uvicorn's own number
_UNREADY = [code for number in (signal.SIGTERM, signal.SIGINT) for code in (128 + number, -number)]
"""Exit codes of workers that a signal ends before they are ready; there is nothing to finish."""
_CAUSES = {
    1: "it could not start, and its last lines say why",
    -getattr(signal, "SIGKILL", 9): "killed, perhaps for lack of memory: allow more, or give fewer --workers",
    -getattr(signal, "SIGBUS", 7): "there is no room left where temporary files are (TMPDIR)",
}


def run(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT, and return; a second signal ends it at once.

    A worker that ends by itself is replaced. Exits with 1 if one does in its first seconds while there is none that
    works, because its successor would too. Raises OSError if the address cannot be listened on.
    """
    with listen(config) as bound:
        if config.workers == 1:
            serve(config, bound)
            return
        # The workers' metrics are added up in files that all of them map.
        with tempfile.TemporaryDirectory(prefix="u2net-metrics-") as folder:
            os.environ[SHARED] = folder
            configure_logs(config.log_level)
            _Supervisor(config, bound).run()


def listen(config: ServerConfig) -> socket.socket:
    """A socket that is bound, not yet listening. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    if os.name == "posix":  # on Windows it would let two services have one port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    bound.set_inheritable(True)
    return bound


def serve(config: ServerConfig, bound: socket.socket, worker: int | None = None) -> None:
    """Be one worker, or the only one: serve until a signal. Exits with 1 and a line of log if it cannot start."""
    configure_logs(config.log_level)
    bound_heaps()
    if worker is not None:
        name_metrics(worker)
    sys.setswitchinterval(0.001)  # at the usual 0.005 each thread of the pool makes the event loop wait
    try:
        app = new_app(config)
        app.state.service.open()
    except Exception as error:
        is_expected = isinstance(error, U2NetError | OSError | ValueError | MemoryError)
        # The log alone is heard: the command has stderr closed for the remarks of decoders.
        LOGGER.error("cannot start: %s", reason(error), exc_info=None if is_expected else error)
        sys.exit(1)

    def end_in_time() -> None:
        # Whatever may hang at the end: threads of a runtime, a connection that nobody closes.
        last = threading.Timer(config.drain_timeout_s + _ENDING_S, os._exit, (0,))
        last.daemon = True
        last.start()

    new_server(app, config, end_in_time).run([bound])


def new_server(app: FastAPI, config: ServerConfig, on_drain: Callable[[], None] = lambda: None) -> Server:
    """uvicorn, with the limits of a configuration, around an application that is not started yet.

    `on_drain` is called once, when the server begins to end.
    """
    settings = uvicorn.Config(
        app,
        http=bounded_protocol(config, app.state.service.metrics),
        backlog=ACCEPTED_AT_ONCE,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(config.keep_alive_s)),
        timeout_graceful_shutdown=_ENDING_S,
    )
    return Server(settings, app.state.service, on_drain)


class Server(uvicorn.Server):
    """uvicorn's server, which at a signal refuses new requests, finishes what it has, and ends; at a second, at once.

    It also ends when its supervisor was killed, because nobody else would ever end it.
    """

    def __init__(self, config: uvicorn.Config, service: Service, on_drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._on_drain = on_drain
        self._drain_start = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to end, or end."""
        if self._service.is_draining or not self.started:
            os._exit(128 + sig)
        self._drain()

    def _drain(self) -> None:
        self._service.is_draining = True
        self._drain_start = time.monotonic()
        self._on_drain()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening; called ten times a second."""
        supervisor = multiprocessing.parent_process()
        if not self._service.is_draining and supervisor is not None and not supervisor.is_alive():
            LOGGER.warning("ending: the process that looked after this one is gone")
            self._drain()
        if self._service.is_draining:
            config, waited_s = self._service.config, time.monotonic() - self._drain_start
            is_idle = self._service.num_in_flight == 0
            if (is_idle and waited_s >= config.drain_delay_s) or waited_s >= config.drain_timeout_s:
                LOGGER.info("ending", extra={"facts": {"lost": self._service.num_in_flight}})
                return True
        return await super().on_tick(counter)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and log the address."""
        start = time.monotonic()
        await super().startup(sockets)
        for bound in sockets or []:
            bound.listen(_WAITING)
        host, port = (sockets or [])[0].getsockname()[:2]
        facts = {"host": host, "port": port, "seconds": round(time.monotonic() - start, 2)}
        LOGGER.info("ready", extra={"facts": facts})


class _Supervisor:
    """Starts the workers, replaces one that dies, and passes signals on until all have ended.

    uvicorn's own Multiprocess was tried. After SIGTERM new requests hang where they should be refused with 503, a
    second signal changes nothing, workers live on when it is killed, and a model that cannot be opened ends it with
    exit code 0. Its Process, Server and most methods would be replaced.
    """

    def __init__(self, config: ServerConfig, bound: socket.socket) -> None:
        self._config = config
        self._bound = bound
        self._context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks in any state
        self._signals: list[int] = []

    def run(self) -> None:
        """Until a signal. Exits with 1 if a worker cannot start or did not end well."""
        wake, signal_came = socket.socketpair()
        for end in (wake, signal_came):
            end.setblocking(False)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda signum, _frame: self._signals.append(signum))
        signal.set_wakeup_fd(signal_came.fileno())
        processes: list[BaseProcess] = []
        try:
            for worker in range(self._config.workers):
                processes.append(self._start(worker))  # noqa: PERF401 - those that began are ended below
        except OSError:
            self._end(processes)
            raise
        starts = [time.monotonic()] * len(processes)
        while not self._signals:
            wait([wake, *(process.sentinel for process in processes)])
            for worker, process in enumerate(processes):
                if self._signals or process.is_alive():
                    continue
                now = time.monotonic()
                grown = [now - start >= _YOUNG_S for start in starts]
                facts = {"exit_code": process.exitcode, "cause": _cause(process.exitcode or 0)}
                if not grown[worker] and not any(p.is_alive() and old for p, old in zip(processes, grown, strict=True)):
                    LOGGER.error("ending: a process ended by itself as soon as it had begun", extra={"facts": facts})
                    self._end(processes)
                    sys.exit(1)
                LOGGER.warning("a process ended by itself, and is replaced", extra={"facts": facts})
                # One that dies again and again must not keep the machine busy.
                wait([wake], _PAUSE_S if grown[worker] else _YOUNG_S)
                try:
                    processes[worker] = self._start(worker)
                except OSError as error:
                    LOGGER.error("a process cannot be replaced: %s", reason(error))
                starts[worker] = time.monotonic()
        self._end(processes)
        well_ended = {0, *(_UNREADY if len(self._signals) == 1 else ())}
        sys.exit(any(process.exitcode not in well_ended for process in processes))

    def _start(self, worker: int) -> BaseProcess:
        """Start a worker. Raises OSError."""
        renew_metrics(worker)
        process = self._context.Process(target=serve, args=(self._config, self._bound, worker), name="u2net-serve")
        process.start()
        return process

    def _end(self, processes: list[BaseProcess]) -> None:
        self._signals = self._signals or [signal.SIGTERM]
        num_passed = 0
        while alive := [process for process in processes if process.is_alive()]:
            for _ in self._signals[num_passed:]:
                for process in alive:
                    process.terminate()
            num_passed = len(self._signals)
            wait([process.sentinel for process in alive], timeout=0.2)


def _cause(exit_code: int) -> str:
    return _CAUSES.get(exit_code) or (signal.strsignal(-exit_code) if exit_code < 0 else None) or "unknown"
