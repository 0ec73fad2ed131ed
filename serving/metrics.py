"""What the service counts, for Prometheus; routes are named by their pattern, so that no id gets in.

docs/operations.md says what each is good for, docs/grafana-dashboard.json shows them.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import prometheus_client as prometheus
from prometheus_client import multiprocess, values

# of several workers the one that was asked last, which has just looked
_LATEST: Literal["livemostrecent"] = "livemostrecent"
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

LIVE = "live"  # the rung of the ladder on which nothing is missing

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.5, 1, 2, 5)
_AGES = (1, 60, 600, 3600, 6 * 3600, 86400, 2 * 86400, 7 * 86400)

_OF_BUDGETS = {  # gauges by name, and what each tells of a budget's present period
    "amount": "What a budget is in a period.",
    "spent": "What is spent of it in the present period.",
    "projected": "What will be, if the period goes on as it did.",
    "price": "What a unit of it must earn on top.",
    "warnings": "Warnings that the forecast has for it.",
}


class Metrics:
    """Counters, histograms and gauges; a name here is a promise to dashboards and alerts."""

    def __init__(self) -> None:
        self._of = lru_cache(1024)(_labelled)  # to find a series takes longer than to count in it
        counter, gauge = prometheus.Counter, prometheus.Gauge
        histogram = prometheus.Histogram
        self._requests = counter("perkwise_requests_total", "Requests answered.", ["route", "status"])
        self._seconds = histogram(
            "perkwise_request_seconds",
            "Time to answer a request; rung: of the ladder, where it decided.",
            ["route", "rung"],
            buckets=_SECONDS,
        )
        self._refused = counter(
            "perkwise_refused_total", "Requests refused, by the kind of reason.", ["reason"]
        )
        self._refusals = counter(
            "perkwise_service_refusals_total",
            "Services that could not be offered in a decision, by the kind of the first reason.",
            ["kind", "rule"],
        )
        self._refusals_by: dict[
            tuple[str, str], prometheus.Counter
        ] = {}  # looked up once: this is asked often
        self._decisions = counter("perkwise_decisions_total", "Decisions answered.", ["arm", "rung"])
        self._lists = counter(
            "perkwise_lists_total", "Decisions, by how many services they show.", ["length"]
        )
        self._cost = counter("perkwise_expected_cost_total", "Cost that is expected of what was shown.")
        self._uplift = counter(
            "perkwise_expected_uplift_total", "Uplift in margin expected of what was shown, where above 0."
        )
        self._age = histogram(
            "perkwise_profile_age_seconds", "Age of the profile at the decision.", buckets=_AGES
        )
        self._events = counter("perkwise_events_total", "Rows that came in at /events.", ["verdict"])
        self._deleted = counter("perkwise_deleted_users_total", "Users removed on request.")
        self._waiting = gauge(
            "perkwise_waiting_requests", "Requests that wait for their turn.", multiprocess_mode="livesum"
        )
        self._working = gauge("perkwise_working_requests", "Requests at work.", multiprocess_mode="livesum")
        self._users = gauge("perkwise_users", "Users of whom something is known.", multiprocess_mode=_LATEST)
        self._services = gauge("perkwise_services", "Services of the catalogue.", multiprocess_mode=_LATEST)
        self._keys = gauge("perkwise_keys", "API keys that are valid.", multiprocess_mode=_LATEST)
        self._bundle = gauge(
            "perkwise_bundle_info",
            "1 for the bundle that is served.",
            ["bundle"],
            multiprocess_mode=_LATEST,
        )
        self._bundle_told = ""
        self._bundle_refused = gauge(
            "perkwise_bundle_refused",
            "1 while the champion cannot be served and the bundle before it is.",
            multiprocess_mode=_LATEST,
        )
        self._took_over = counter("perkwise_bundle_changes_total", "Bundles that took over while serving.")
        self._budgets = {
            name: gauge(f"perkwise_budget_{name}", text, ["budget", "kind"], multiprocess_mode=_LATEST)
            for name, text in _OF_BUDGETS.items()
        }
        self._throttled = gauge(
            "perkwise_throttled",
            "1 while only free services are shown, because the others cost too much of the revenue.",
            multiprocess_mode=_LATEST,
        )

    def answered(self, route: str, status: int, seconds: float, rung: str = "") -> None:
        """Count a request."""
        self._of(self._requests, route, status).inc()
        self._of(self._seconds, route, rung).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that was not served."""
        self._of(self._refused, reason).inc()

    def refused_services(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count services that could not be offered, by kind and the rule's name."""
        for key, n_services in counts.items():
            child = self._refusals_by.get(key)
            if child is None:
                child = self._refusals_by[key] = self._refusals.labels(*key)
            child.inc(n_services)

    def decided(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """Count decisions, as they are answered: all of a turn together, for each count takes a lock."""
        arms = Counter((one["arm"], one["degraded"] or LIVE) for one in answers)
        for (arm, rung), n_decisions in arms.items():
            self._of(self._decisions, arm, rung).inc(n_decisions)
        for length, n_decisions in Counter(len(one["services"]) for one in answers).items():
            self._of(self._lists, length).inc(n_decisions)
        offers = [offer for one in answers for offer in one["services"]]
        self._cost.inc(max(sum(one["cost"] or 0.0 for one in offers), 0.0))
        self._uplift.inc(sum(max(one["uplift"] or 0.0, 0.0) for one in offers))
        now = datetime.now(UTC)
        for as_of, n_profiles in Counter(one["profile_as_of"] for one in answers).items():
            age_s = max((now - datetime.fromisoformat(as_of)).total_seconds(), 0.0)
            for _ in range(n_profiles):
                self._age.observe(age_s)

    def came_in(self, counts: Mapping[str, int]) -> None:
        """Count rows of events by their verdict."""
        for verdict, n_rows in counts.items():
            self._events.labels(verdict).inc(n_rows)

    def deleted(self) -> None:
        """Count a user who was removed."""
        self._deleted.inc()

    def took_over(self, before: str, bundle: str) -> None:
        """Count a bundle that is served instead of another from now on."""
        self._took_over.inc()
        self._bundle.labels(before).set(0)
        self._bundle.labels(bundle).set(1)
        self._bundle_told = bundle

    def refuses(self, is_refused: bool) -> None:
        """Say whether the champion cannot be served."""
        self._bundle_refused.set(is_refused)

    def spends(self, budgets: Sequence[Mapping[str, Any]], is_throttled: bool) -> None:
        """Set the gauges of budgets, as GET /services tells them."""
        for one in budgets:
            told = one["forecast"]
            values = {
                "amount": one["amount"],
                "spent": one["spent"],
                "price": one["price"],
                "projected": told["projected"],
                "warnings": len(told["warnings"]),
            }
            for name, value in values.items():
                self._budgets[name].labels(one["name"], one["kind"]).set(value)
        self._throttled.set(is_throttled)

    def stands(
        self, bundle: str, n_users: int, n_services: int, n_keys: int, n_waiting: int, n_working: int
    ) -> None:
        """Set the gauges to what is so now."""
        if self._bundle_told not in ("", bundle):
            self._bundle.labels(self._bundle_told).set(0)
        self._bundle.labels(bundle).set(1)
        self._bundle_told = bundle
        self._users.set(n_users)
        self._services.set(n_services)
        self._keys.set(n_keys)
        self.queues(n_waiting, n_working)

    def queues(self, n_waiting: int, n_working: int) -> None:
        """Set what of the gauges each worker has its own share of."""
        self._waiting.set(n_waiting)
        self._working.set(n_working)


def _labelled(metric: Any, *labels: str | int) -> Any:
    return metric.labels(*labels)


def share_metrics(folder: Path, place: int) -> None:
    """Count in a file of this folder, with which any worker tells the sums of all.

    A worker that is started again counts on where the one before it in this place has ended.
    """
    os.environ[_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: place)


def forget_gauges(folder: Path, place: int) -> None:
    """The worker of this place has ended: what it counted stays, what was so at that moment does not."""
    multiprocess.mark_process_dead(place, str(folder))


@cache
def metrics() -> Metrics:
    """The one set of counters of this process; made late, after BentoML has said where several share them."""
    prometheus.disable_created_metrics()  # a second series for each, which nobody asks for
    return Metrics()


def exposition() -> bytes:
    """All counters in Prometheus' text format, of all workers where there are several."""
    if _FOLDER not in os.environ:
        return prometheus.generate_latest()
    registry = prometheus.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return prometheus.generate_latest(registry)
