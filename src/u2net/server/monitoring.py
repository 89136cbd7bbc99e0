"""What operators see of the service: logs as one JSON object a line on stdout, and metrics for Prometheus."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from u2net.errors import printable

LOGGER = logging.getLogger("u2net.server")

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder where several processes add up; prometheus_client's own."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NUM_SAID = 100
_METRICS_BYTES = 256 * 1024  # of each file; all labels that there are take less
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message; `facts` of a record beside them; an exception's traceback as text."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return printable(json.dumps(line, ensure_ascii=False, default=str), as_json=True)


class Calm(logging.Filter):
    """Lets a library say the same once a second: what a client causes a thousand times must not fill a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged. The service's own are: it logs a line for each request."""
        if record.name == LOGGER.name:
            return True
        said = record.name, str(record.msg).partition("\n")[0]
        if record.created - self._last.get(said, -1.0) < 1:
            return False
        if len(self._last) > _NUM_SAID:
            self._last.clear()
        self._last[said] = record.created
        return True


def configure_logs(level: str) -> None:
    """Send everything that this process logs through the formatter."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(Calm())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    warnings.filterwarnings("ignore", module="PIL")  # remarks about the pictures that clients send
    for name in ("uvicorn", "uvicorn.error", "asyncio", "python_multipart"):
        # Only errors of these matter: their warnings are about what clients send, which a line of our own tells.
        logging.getLogger(name).setLevel(logging.ERROR)


def name_metrics(worker: int) -> None:
    """Keep the metrics of this process, of several, in the files of this number. Call it before there are any.

    With files for each process id they would get more with each process that dies, without end.
    """
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]


def renew_metrics(worker: int) -> None:
    """Forget what the last process of this number was at, keep what it has counted, and take room on the disk.

    The files are mapped into memory: where the disk has no room for them, processes are killed. Raises OSError.
    """
    folder = os.environ[SHARED]
    mark_process_dead(worker, folder)  # type: ignore[no-untyped-call]
    for kind in ("counter", "gauge_livemax", "gauge_livesum", "histogram"):
        path = Path(folder, f"{kind}_{worker}.db")
        try:
            if not path.exists():
                path.write_bytes(bytes(_METRICS_BYTES))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OSError(error.errno, f"no room for metrics in {folder} (TMPDIR): {error.strerror}") from None


class Metrics:
    """The metrics of one application, in a registry of their own: several may live in one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        histogram = partial(Histogram, registry=registry)
        sums = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self.requests = Counter(
            "u2net_requests", "Requests answered, by route and status code", ("route", "code"), registry=registry
        )
        self.request_seconds = histogram(
            "u2net_request_seconds", "From a request's head to its answer's end", ("route",), buckets=_SECONDS
        )
        what = "Time of a picture in each stage: wait, decode, network (with the wait for a batch), encode"
        self.stage_seconds = histogram("u2net_stage_seconds", what, ("stage",), buckets=_SECONDS)
        self.batch_size = histogram(
            "u2net_batch_size", "Pictures that went through the network together", buckets=(1, 2, 4, 8, 16, 32)
        )
        self.in_flight = sums("u2net_requests_in_flight", "Requests whose answer has not ended")
        self.pictures = sums("u2net_pictures", "Pictures that wait or are worked on")
        lags = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
        self.lag_seconds = histogram("u2net_loop_lag_seconds", "How late the event loop woke up", buckets=lags)
        names = ("name", "version")
        self.model = Gauge(
            "u2net_model_info", "Models that are open", names, registry=registry, multiprocess_mode="livemax"
        )

    def text(self) -> bytes:
        """In Prometheus' text format; the sum of all processes where there are several."""
        if SHARED not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
