"""Run the service in this very process: what ends the process ends the service, and leaves nothing behind."""

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from offers.settings import Settings
from serving.config import ServeConfig
from serving.edge import Guard
from serving.logs import start_logging
from serving.protocol import LimitedProtocol
from serving.service import Perkwise, routes

logger = logging.getLogger("perkwise")

_GRACE_S = 10  # for requests in flight when the process is told to end
_KEPT_OPEN_S = 75  # longer than load balancers keep a connection, so that they end it, not we


def serve(
    data: Path,
    bundle: Path,
    state: Path,
    settings: Settings,
    host: str = "127.0.0.1",
    port: int | None = None,
    rules: tuple[Path, ...] = (),
    audit: Path | None = None,
) -> None:
    """Serve until the process is told to end by ctrl-C or SIGTERM; requests in flight are finished first.

    At SIGTERM ``/readyz`` says no at once; all else is answered on for ``settings.serving.drain_seconds``.

    Parameters
    ----------
    data : Path
        The data folder.
    bundle : Path
        The bundle's folder, such as ``training.champion.read_champion(var)``.
    state : Path
        SQLite's file of what comes in and what was decided; made where it is not there. The API keys
        stand beside it.
    settings : Settings
    rules : tuple of Path
        Where the benefit rules may stand; the first file that is there is read, and again when it changes.
    audit : Path, optional
        Where shifts of demand are declared, one a line; read again when it changes.
    host, port
        Where to listen; ``settings.serving.port`` where no port is given.

    Raises
    ------
    Exception
        Whatever kept the service from starting: a bundle or a table that cannot be read, a port in use, an
        address that others can reach without an API key.
    """
    port = settings.serving.port if port is None else port
    start_logging(settings.serving.log_format, settings.serving.log_level)
    _check_free(host, port)
    os.environ.update(ServeConfig(data, bundle, state, settings, host, rules, audit).to_environment())
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    app = _Watched(Perkwise.to_asgi())  # type: ignore[attr-defined]
    server = _Server(http_config(app, host, port), settings.serving.drain_seconds)
    try:
        server.run()
    except SystemExit:
        if app.fault is not None:
            raise app.fault from None
        raise


def http_config(app: Any, host: str, port: int) -> uvicorn.Config:
    """How uvicorn speaks HTTP for an application."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=LimitedProtocol,
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEPT_OPEN_S,
        timeout_graceful_shutdown=_GRACE_S,
    )


class _Server(uvicorn.Server):
    """A server that, told to end, first says that it is not ready; it ends well, with the exit code 0."""

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for one in self.servers:
            for listening in one.sockets:
                logger.info("Ready at %s", _address(listening))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        guard: Guard | None = getattr(routes.state, "guard", None)
        is_second = self.should_exit or (guard is not None and guard.is_draining)
        if guard is not None:
            guard.is_draining = True
        if sig == signal.SIGTERM and self.started and not is_second and self._drain_seconds:
            logger.info("Told to end: not ready any more, answering on for %g s.", self._drain_seconds)
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._exit)
        elif is_second and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        else:
            self.should_exit = True

    def _exit(self) -> None:
        self.should_exit = True


def _address(listening: Any) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _check_free(host: str, port: int) -> None:
    """Tell a port in use before the data are read, which takes seconds."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(
                f"port {port} on {host} cannot be listened on ({error.strerror}): "
                "stop what uses it, or take another port."
            ) from error


class _Watched:
    """The application, with what keeps it from starting."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.fault: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            self.fault = error
            raise
