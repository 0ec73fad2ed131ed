"""Run the service, in this very process or in workers of it: what ends the process leaves nothing behind."""

import asyncio
import errno
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from offers.settings import Settings
from serving.config import ServeConfig
from serving.edge import Edge, Guard
from serving.logs import start_logging
from serving.metrics import forget_gauges, share_metrics
from serving.protocol import LimitedProtocol
from serving.service import Perkwise, routes
from serving.shared import Shared
from serving.workers import Supervisor

logger = logging.getLogger("perkwise")

_METRICS = "perkwise-metrics-"  # a folder's name, before the process whose it is
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
    champion: Path | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the process is told to end by ctrl-C or SIGTERM; requests in flight are finished first.

    At SIGTERM ``/readyz`` says no at once; all else is answered on for ``settings.serving.drain_seconds``.
    Where ``settings.serving.workers`` is above 1, so many processes answer; this one starts and ends them.

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
    champion : Path, optional
        The folder whose champion is served, the next one as soon as there is one; ``bundle`` where none of
        its champions can be. Without it ``bundle`` is served to the end.
    host, port
        Where to listen; ``settings.serving.port`` where no port is given.
    on_ready : callable, optional
        Called when requests are answered.

    Raises
    ------
    Exception
        Whatever kept the service from starting: a bundle or a table that cannot be read, a port in use, an
        address that others can reach without an API key.
    """
    port = settings.serving.port if port is None else port
    start_logging(settings.serving.log_format, settings.serving.log_level)
    listening = _listening(host, port)
    os.environ.update(
        ServeConfig(data, bundle, state, settings, host, rules, audit, champion).to_environment()
    )
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    n_workers, drain_s = settings.serving.workers, settings.serving.drain_seconds
    addresses = ", ".join(map(_address, listening))

    def tell_ready() -> None:
        logger.info("Ready at %s", addresses)
        on_ready()

    tell_drain = partial(logger.info, "Told to end: not ready any more, answering on for %g s.", drain_s)
    if n_workers == 1:
        _answer(listening, drain_s, tell_ready, tell_drain)
        return

    def end(number: int) -> None:
        for one in listening:
            one.close()  # else the kernel would take connections that no worker answers
        if drain_s and number == signal.SIGTERM:
            tell_drain()

    shared = Shared(n_workers)
    with _metrics_folder() as folder:

        def work(place: int, tell: Callable[[], None]) -> None:
            shared.place, routes.state.shared = place, shared
            share_metrics(folder, place)
            _answer(listening, drain_s, tell, lambda: None)

        def bury(place: int) -> None:
            shared.clear(place)
            forget_gauges(folder, place)

        Supervisor(n_workers, work, tell_ready, end, bury).run()


@contextmanager
def _metrics_folder() -> Iterator[Path]:
    """Where the workers count, until the supervisor ends; what one that was killed has left is removed."""
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{_METRICS}*-*"):
        owner = left.name.removeprefix(_METRICS).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_METRICS}{os.getpid()}-") as folder:
        yield Path(folder)


def _answer(
    listening: list[socket.socket],
    drain_seconds: float,
    on_ready: Callable[[], None],
    on_drain: Callable[[], None],
) -> None:
    """Answer what comes in, until this process is told to end."""
    app = _Watched(Perkwise.to_asgi())  # type: ignore[attr-defined]
    server = _Server(http_config(app), drain_seconds, on_ready, on_drain)
    try:
        server.run(listening)
    except SystemExit:
        if app.fault is not None:
            raise app.fault from None
        raise


def http_config(app: Any) -> uvicorn.Config:
    """How uvicorn speaks HTTP for an application."""
    return uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        log_level="critical",
        access_log=False,
        proxy_headers=False,  # nobody asks where a request came from
        server_header=False,
        timeout_keep_alive=_KEPT_OPEN_S,
        timeout_graceful_shutdown=_GRACE_S,
    )


class _Server(uvicorn.Server):
    """A server that, told to end, first says that it is not ready; it ends well, with the exit code 0."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain_seconds: float,
        on_ready: Callable[[], None],
        on_drain: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._drain_seconds, self._on_ready, self._on_drain = drain_seconds, on_ready, on_drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        guard: Guard | None = getattr(routes.state, "guard", None)
        is_second = self.should_exit or (guard is not None and guard.is_draining)
        if guard is not None:
            guard.is_draining = True
        if sig == signal.SIGTERM and self.started and not is_second and self._drain_seconds:
            self._on_drain()
            self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_seconds, self._exit)
        elif is_second and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        else:
            self.should_exit = True

    def _exit(self) -> None:
        self.should_exit = True


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listening(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of the host; a port in use is told before the data are read."""
    found: list[socket.socket] = []
    fault: OSError | None = None
    try:
        for family, *_, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                found.append(_bound(family, address))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                fault = error  # such as ::1 of localhost on a machine without IPv6
        if fault is not None and not found:
            raise fault
    except OSError as error:
        raise OSError(
            f"port {port} on {host} cannot be listened on ({error.strerror}): "
            "stop what uses it, or take another port."
        ) from error
    return found


def _bound(family: int, address: Any) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one


class _Watched:
    """The application, with what keeps it from starting.

    What is asked meets the edge at once: BentoML's layers around it would pass it on as it is.
    """

    def __init__(self, app: Any) -> None:
        self._app, self._edge = app, Edge(app, routes)
        self.refuses = self._edge.refuses
        self.fault: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._edge(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            self.fault = error
            raise
