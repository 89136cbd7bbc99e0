"""What the service counts, for Prometheus."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder in which several processes add up; prometheus_client's own."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Of one application. Each has a registry of its own, for several may live in one process."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "u2net_requests", "Requests answered, by route and status code", ("route", "code"), registry=registry
        )
        self.request_seconds = Histogram(
            "u2net_request_seconds", "From a request's head to its answer's end", ("route",), registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "u2net_stage_seconds",
            "What pictures spend in each stage: wait, decode, network (with the wait for a batch), encode",
            ("stage",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.batch_size = Histogram(
            "u2net_batch_size", "Pictures that went through the network together", registry=registry,
            buckets=(1, 2, 4, 8, 16, 32),
        )  # fmt: skip
        self.in_flight = self._gauge("u2net_requests_in_flight", "Requests whose answer has not ended")
        self.pictures = self._gauge("u2net_pictures", "Pictures that wait or are worked on")
        self.lag_seconds = Histogram(
            "u2net_loop_lag_seconds", "How late the event loop woke up", registry=registry,
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
        )  # fmt: skip
        self.model = Gauge(
            "u2net_model_info", "Models that are open", ("name", "version"), registry=registry,
            multiprocess_mode="livemax",
        )  # fmt: skip

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(name, what, registry=self._registry, multiprocess_mode="livesum")

    def text(self) -> bytes:
        """In Prometheus' text format; of all processes where there are several."""
        if SHARED not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
