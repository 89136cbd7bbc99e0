"""Several processes that share a port and nothing else: begun, begun again when one dies, and ended together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType

from u2net.server.config import ServerConfig
from u2net.server.monitoring import LOGGER, configure_logs
from u2net.server.metrics import SHARED
from u2net.server.process import listen, serve

_YOUNG_S = 5.0


def run(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT, and return; a second one ends it at once.

    Exits with 1 if a process ends by itself soon after the beginning, for then its like would too. Raises OSError if
    the address cannot be listened on.
    """
    with listen(config) as bound:
        if config.workers == 1:
            serve(config, bound)
            return
        # The processes' figures are added up in files that all of them map.
        with tempfile.TemporaryDirectory(prefix="u2net-metrics-") as folder:
            os.environ[SHARED] = folder
            configure_logs(config.log_level)
            _Supervisor(config, bound).run()


class _Supervisor:
    def __init__(self, config: ServerConfig, bound: socket.socket) -> None:
        self._config = config
        self._bound = bound
        self._context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks in any state
        self._signals: list[int] = []
        self._wake, self._signal_came = socket.socketpair()

    def run(self) -> None:
        """Start all, look after them, end all."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._note)
        self._wake.setblocking(False)
        self._signal_came.setblocking(False)
        signal.set_wakeup_fd(self._signal_came.fileno())
        begun = time.monotonic()
        processes = [self._start() for _ in range(self._config.workers)]
        while not self._signals:
            wait([self._wake, *(process.sentinel for process in processes)])
            if self._signals:
                break
            for index, process in enumerate(processes):
                if process.is_alive():
                    continue
                if time.monotonic() - begun < _YOUNG_S or process.exitcode == 1:
                    self._end(processes)
                    sys.exit(1)
                LOGGER.warning("a process ended by itself", extra={"facts": {"exit_code": process.exitcode}})
                time.sleep(1)  # one that dies at once must not keep the machine busy
                processes[index] = self._start()
        self._end(processes)
        sys.exit(max((abs(process.exitcode or 0) for process in processes), default=0) and 1)

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._signals.append(signum)

    def _start(self) -> BaseProcess:
        process = self._context.Process(target=serve, args=(self._config, self._bound), name="u2net-serve")
        process.start()
        return process

    def _end(self, processes: list[BaseProcess]) -> None:
        """Pass signals on until all have ended."""
        self._signals = self._signals or [signal.SIGTERM]
        num_passed = 0
        while alive := [process for process in processes if process.is_alive()]:
            for _ in self._signals[num_passed:]:
                for process in alive:
                    process.terminate()
            num_passed = len(self._signals)
            wait([process.sentinel for process in alive], timeout=0.2)
