"""What every request meets first: is the service ready, who asks, and how much do they ask?

The edge stands before the routes and answers for all that BentoML would answer by itself: its pages are
not served. Of a key nothing but its name is kept, and only as the name of a rate limit.
"""

import ipaddress
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request

from serving.keys import Key, KeyFile, Keys
from serving.limits import Clock, Line, RateLimit
from serving.metrics import metrics

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_READING = ("GET", "HEAD")
_TYPES = (  # of a body; the last two are what a tool says that was told no type
    b"application/json",
    b"application/x-www-form-urlencoded",
    b"text/plain",
)


class Guard:
    """What the edge decides by: keys, rates, the line, and if the service is about to end.

    Parameters
    ----------
    keys : KeyFile
    host : str
        The address that is listened on; keys are required where others than this machine can reach it.
    due : mapping, optional
        What several workers share of the rates of keys.

    Raises
    ------
    ValueError
        Where keys are required and there are none.
    """

    def __init__(
        self,
        keys: KeyFile,
        host: str,
        requests_per_second: float,
        max_waiting: int,
        max_wait_ms: int,
        max_body_bytes: int,
        clock: Clock = time.monotonic,
        due: MutableMapping[str, float] | None = None,
    ) -> None:
        self.keys = Keys(keys, not is_loopback(host), clock)
        if not is_loopback(host) and not len(self.keys):
            raise ValueError(
                f"{host or 'an address that is not named'} can be reached by others than this machine, and "
                f"{keys.path} holds no key. Add one with: perkwise keys add NAME; or serve on 127.0.0.1."
            )
        self.rate = RateLimit(requests_per_second, clock, due)
        self.line = Line(max_waiting, max_wait_ms / 1000, clock)
        self.max_body_bytes = max_body_bytes
        self.is_draining = False


def is_loopback(host: str) -> bool:
    """Can only this machine reach the address?

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0"), is_loopback("")
    (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Edge:
    """ASGI middleware around BentoML's application; ``routes`` get what is let in.

    ``routes.state.guard`` is set once the service can answer.
    """

    def __init__(self, app: App, routes: Starlette) -> None:
        self._app, self._routes = app, routes

    def refuses(self) -> bool:
        """Must whoever asks for work now be refused, for more is asked than can be answered?

        ``serving.protocol`` asks this before a request gets here, for what is spent on refusing is lost to
        answers.
        """
        guard: Guard | None = getattr(self._routes.state, "guard", None)
        return guard is not None and guard.line.refuses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "ask over HTTP"})
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        guard: Guard | None = getattr(self._routes.state, "guard", None)
        path = scope["path"]
        if path in ("/livez", "/readyz"):
            await _tell_health(scope["method"], path, guard, send)
        elif guard is None:
            await refuse(send, 503, "not_ready", "the service is not ready yet: come again later", _AGAIN)
        elif await self._is_let_in(guard, scope, send):
            handle = self._routes.state.handlers.get((scope["method"], path))
            if handle is None:  # an id in the path, or no such path
                await self._routes(scope, receive, send)
                return
            scope["app"] = self._routes
            response = await handle(Request(scope, receive, send))  # without the layers around a search
            await response(scope, receive, send)

    async def _is_let_in(self, guard: Guard, scope: Scope, send: Send) -> bool:
        """Answers whoever is not."""
        headers = _wanted(scope["headers"])
        name = ""
        if guard.keys.required:
            key = _key_of(guard.keys, headers)
            if key is None:
                why = "unknown_key" if b"authorization" in headers else "no_key"
                await refuse(send, 401, why, _UNAUTHORISED[why], ((b"www-authenticate", b"Bearer"),))
                return False
            if key.read_only and scope["method"] not in _READING:
                await refuse(send, 403, "read_only_key", "this key may only read (GET): use another one")
                return False
            name = key.name
        wait_s = guard.rate.take(name)
        if wait_s:
            again = ((b"retry-after", b"%d" % (int(wait_s) + 1)),)
            await refuse(send, 429, "rate", "more requests a second than this key may send: slow down", again)
            return False
        fault = _fault_of_body(headers, guard.max_body_bytes)
        if fault is not None:
            await refuse(send, *fault)
            return False
        return True


async def refuse(
    send: Send, status: int, reason: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """An error in the one form that errors have; counted by its reason."""
    metrics().refused(reason)
    await _respond(send, status, orjson.dumps({"error": message}), b"application/json", headers)


async def _tell_health(method: str, path: str, guard: Guard | None, send: Send) -> None:
    if method not in _READING:
        await refuse(send, 405, "method", f"{path} takes GET alone", ((b"allow", b"GET, HEAD"),))
    elif path == "/readyz" and (guard is None or guard.is_draining):
        ends = "the service is about to end" if guard else "the service is not ready yet"
        await _respond(send, 503, orjson.dumps({"error": ends}), b"application/json", _AGAIN)
    else:
        await _respond(send, 200, b"" if method == "HEAD" else b"\n", b"text/plain; charset=utf-8")


async def _respond(
    send: Send, status: int, body: bytes, media_type: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    own = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})


def _wanted(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The first of each header that is looked at here."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _LOOKED_AT:
            found.setdefault(name, value)
    return found


def _key_of(keys: Keys, headers: dict[bytes, bytes]) -> Key | None:
    scheme, _, presented = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    return keys.find(presented.strip().decode("latin-1"))


def _fault_of_body(headers: dict[bytes, bytes], most: int) -> tuple[int, str, str] | None:
    """Why a body is not even read, or None."""
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > most:
        return 413, "too_large", too_large(most)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return 415, "encoding", "the body must be sent as it is, without Content-Encoding"
    media_type = headers.get(b"content-type", _TYPES[0]).partition(b";")[0].strip().lower()
    if media_type not in _TYPES:
        return 415, "media_type", "the body must be JSON, with Content-Type: application/json"
    return None


def too_large(most: int) -> str:
    """What is said of a body that is too long."""
    return f"the body must be at most {most} bytes: send several requests"


_AGAIN = ((b"retry-after", b"1"),)
_LOOKED_AT = frozenset((b"authorization", b"content-length", b"content-encoding", b"content-type"))
_UNAUTHORISED = {
    "no_key": "a key is needed: send it as Authorization: Bearer KEY; perkwise keys add NAME makes one",
    "unknown_key": "this key is not known, or was revoked: send another as Authorization: Bearer KEY",
}
