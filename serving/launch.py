"""Run the service in this very process: what ends the process ends the service, and leaves nothing behind."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn

from offers.settings import Settings
from serving.config import ServeConfig
from serving.service import Perkwise

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
    os.environ.update(ServeConfig(data, bundle, state, settings).to_environment())
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    starting = _Starting(Perkwise.to_asgi())  # type: ignore[attr-defined]
    server = uvicorn.Server(
        uvicorn.Config(
            starting,
            host=host,
            port=settings.serving.port if port is None else port,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    with suppress(KeyboardInterrupt):
        server.run()
    if starting.fault is not None:
        raise starting.fault


class _Starting:
    """The application, with the error kept that it failed to start with."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.fault: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] == "lifespan":
                self.fault = error
            raise
