"""What the service counts, for Prometheus; routes are named by their pattern, so that no id gets in."""

import os
from functools import cache

import prometheus_client as prometheus
from prometheus_client import multiprocess


class Metrics:
    """Requests by route and status, their duration, and decisions by arm."""

    def __init__(self) -> None:
        self._requests = prometheus.Counter(
            "perkwise_requests_total", "Requests answered.", ["route", "status"]
        )
        self._seconds = prometheus.Histogram(
            "perkwise_request_seconds", "Time to answer a request.", ["route"]
        )
        self._decisions = prometheus.Counter("perkwise_decisions_total", "Decisions answered.", ["arm"])

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def decided(self, arm: str) -> None:
        """Count a decision."""
        self._decisions.labels(arm).inc()


@cache
def metrics() -> Metrics:
    """The one set of counters of this process; made late, after BentoML has said where several share them."""
    return Metrics()


def exposition() -> bytes:
    """All counters in Prometheus' text format, of all workers where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return prometheus.generate_latest()
    registry = prometheus.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return prometheus.generate_latest(registry)
