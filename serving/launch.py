"""Run the service in this very process: what ends the process ends the service, and leaves nothing behind."""

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from offers.settings import Settings
from serving.config import ServeConfig
from serving.service import Perkwise

logger = logging.getLogger("perkwise")

_GRACE_S = 10  # for requests in flight when the process is told to end


def serve(
    data: Path,
    bundle: Path,
    state: Path,
    settings: Settings,
    host: str = "127.0.0.1",
    port: int | None = None,
) -> None:
    """Serve until the process is told to end by ctrl-C or SIGTERM; requests in flight are finished first.

    Parameters
    ----------
    data : Path
        The data folder.
    bundle : Path
        The bundle's folder, such as ``training.champion.read_champion(var)``.
    state : Path
        SQLite's file of what comes in and what was decided; made where it is not there.
    settings : Settings
    host, port
        Where to listen; ``settings.serving.port`` where no port is given.

    Raises
    ------
    Exception
        Whatever kept the service from starting: a bundle or a table that cannot be read, a port in use.
    """
    port = settings.serving.port if port is None else port
    _check_free(host, port)
    os.environ.update(ServeConfig(data, bundle, state, settings).to_environment())
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    _log_our_own()
    app = _Watched(Perkwise.to_asgi(), f"http://{host}:{port}")  # type: ignore[attr-defined]
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    except SystemExit:
        if app.fault is not None:
            raise app.fault from None
        raise


def _log_our_own() -> None:
    """Our lines to standard error; of libraries nothing, for what goes wrong is raised or answered."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    logging.getLogger("bentoml").setLevel(logging.CRITICAL)


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
    """The application, with what keeps it from starting, and a line in the log once it has."""

    def __init__(self, app: Any, url: str) -> None:
        self._app, self._url = app, url
        self.fault: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def watched_send(message: Any) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                logger.info("Ready at %s", self._url)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:
            self.fault = error
            raise
