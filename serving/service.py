"""The BentoML service: starts the application and mounts its routes beside BentoML's own.

The routes are mounted rather than declared with ``@bentoml.api``: one form of error for all of them, no
rejected input in BentoML's log, and about a tenth of the processor time saved. BentoML's own metrics and
access log would hold user ids, as parts of paths; ``serving.metrics`` counts by route instead.
"""

import gc
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import bentoml

from features.pipeline import Layout
from offers.settings import WindowSettings
from serving.application import Application
from serving.config import ServeConfig
from serving.database import Database
from serving.edge import Edge, Guard
from serving.filed import Filed
from serving.keys import beside as keys_beside
from serving.live_bundle import LiveBundle, read_first
from serving.live_rules import Poller
from serving.metrics import metrics
from serving.prepared import Recipe, prepared, prepared_beside
from serving.routes import make_app
from serving.shared import Shared
from training.bundle import Bundle, read_basis, read_bundle

logger = logging.getLogger("perkwise")

routes = make_app()


@bentoml.service(
    name="perkwise",
    workers=1,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    tracing={"excluded_urls": ".*"},
)
@bentoml.asgi_app(routes, path="/")
class Perkwise:
    """Which services to offer to whom, how many, and when none."""

    def __init__(self) -> None:
        config = ServeConfig.from_environment(os.environ)
        serving = config.settings.serving
        shared: Shared | None = getattr(routes.state, "shared", None)  # None: one worker alone
        guard = Guard(
            keys_beside(config.state),
            config.host,
            serving.requests_per_second,
            serving.max_waiting,
            serving.max_wait_ms,
            serving.max_body_bytes,
            due=shared.moments if shared else None,
        )
        bundle, filed = read_first(config, partial(_read, config))
        self.database = Database(serving.database or config.state, shared)
        application = Application(
            filed, bundle, self.database, config.settings, _now_us, config.rules, config.audit
        )
        _answer_by(application)
        routes.state.guard = guard
        metrics()  # made here, before two threads can ask for it
        self.live = live = LiveBundle(
            config, application, partial(_file, config), _answer_by, routes.state.door, _now_us
        )
        polls = [live.poll_application, live.poll_scores, live.poll_bundle]
        if shared is not None:  # whichever worker is asked tells the lines of all
            polls.append(lambda: metrics().queues(len(guard.line), guard.line.n_working))
        self.poller = Poller(polls)
        gc.collect()
        gc.freeze()  # what is here now stays: the collector need not look at it again and again
        if shared is None or shared.place == 0:  # all serve the same
            logger.info("Serving.", extra={"fields": served(config, application, guard)})

    @bentoml.on_shutdown
    def close(self) -> None:
        """Finish what was asked for."""
        self.poller.close()
        self.live.close()
        self.database.close()


Perkwise.add_asgi_middleware(Edge, routes=routes)  # type: ignore[attr-defined]


def served(config: ServeConfig, application: Application, guard: Guard) -> dict[str, Any]:
    """What is served, for the log."""
    return {
        "bundle": application.bundle.hash,
        "rules": application.rules.in_force.rules.digest or "none",
        "services": len(application.bundle.catalog),
        "users": application.state.n_users,
        "data": str(config.data),
        "database": application.database.name,
        "workers": config.settings.serving.workers,
        "keys": len(guard.keys) if guard.keys.required else "not needed",
    }


def _read(config: ServeConfig, folder: Path) -> tuple[Bundle, Filed]:
    """A bundle, and the data folder made ready for it, both at once."""
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(read_bundle, folder)  # most of it is done by another process
        filed = _file(config, *read_basis(folder))
        return reading.result(), filed


def _file(config: ServeConfig, layout: Layout, windows: WindowSettings) -> Filed:
    recipe = Recipe(config.data, layout, windows.uptake_days, config.settings.money)
    return prepared(recipe, prepared_beside(config.state))


def _answer_by(application: Application) -> None:
    """Let it answer from the next request on."""
    routes.state.application = application


def _now_us() -> int:
    return time.time_ns() // 1000
