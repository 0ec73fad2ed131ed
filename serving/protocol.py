"""HTTP as uvicorn reads it, with limits on headers, on connections, and on the time that reading takes.

What cannot be read is answered in the form that all errors have.
"""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from serving.limits import TOO_MUCH
from serving.metrics import metrics

MAX_HEADER_BYTES = 32 * 1024
MAX_HEADERS = 200
MAX_CONNECTIONS = 2000
REQUEST_S = 15.0  # from the first byte of a request to its last
ANSWER_S = 30.0  # for an answer that is not fetched

_CONTINUE = STATUS_LINE[100]
_REASONS = {  # as the counter of refused requests names them
    400: "not_http",
    408: "slow",
    414: "long_address",
    431: "long_headers",
    503: "connections",
}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _InOnePiece:
    """A transport that sends the head of an answer with its body: each call of the kernel costs."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self._head = transport, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        is_head = data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n")
        if is_head and not data.startswith(_CONTINUE):
            self.flush()
            self._head = data
        else:
            self._transport.write(self._head + data)
            self._head = b""

    def flush(self) -> None:
        """Send a head that has no body."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_InOnePiece(transport))  # type: ignore[arg-type]
        self._refusal: _Refused | None = None
        self._refuses: Callable[[], bool] = getattr(self.app, "refuses", lambda: False)
        self._is_passed_over = False  # the request that comes now is answered without the application
        self._n_header_bytes = 0
        self._fetching: asyncio.TimerHandle | None = None
        self._reads_since: float | None = self.loop.time()  # None: a request has come, or none is expected
        self._watching: asyncio.TimerHandle | None = self.loop.call_later(REQUEST_S, self._watch)
        if len(self.connections) > MAX_CONNECTIONS:
            self._end(503, "too many connections are open: come again later")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._cancel_fetching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._n_header_bytes = 0
        if self._reads_since is None:
            self._reads_since = self.loop.time()
        if self._watching is None:
            self._watching = self.loop.call_later(REQUEST_S, self._watch)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url), 414, "the address is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value), 431, "the headers are too long")
        if len(self.headers) > MAX_HEADERS:
            self._refuse(431, f"there must be at most {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        # in overload, what is spent on refusing is lost to answers: no task, no scope, no application
        is_work = self._is_idle and self.parser.get_method() == b"POST" and not self.expect_100_continue
        if is_work and self._refuses():
            self._is_passed_over = True
            return
        try:
            super().on_headers_complete()
        except (httptools.HttpParserError, AttributeError):  # the latter: an address without a path
            self._refuse(400, "the address cannot be read: it must be a path, such as /recommend")

    def on_body(self, body: bytes) -> None:
        if not self._is_passed_over:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_passed_over:
            self._pass_over()
        else:
            super().on_message_complete()
        self._reads_since = None

    def on_response_complete(self) -> None:
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        refusal = self._refusal or _Refused(400, "this is not HTTP that can be read")
        self._end(refusal.status, str(refusal))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._cancel_fetching()
        self._fetching = self.loop.call_later(ANSWER_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_fetching()

    def _count(self, n_bytes: int, status: int, message: str) -> None:
        self._n_header_bytes += n_bytes
        if self._n_header_bytes > MAX_HEADER_BYTES:
            self._refuse(status, f"{message}: at most {MAX_HEADER_BYTES} bytes together")

    def _refuse(self, status: int, message: str) -> None:
        """Stop the parser, which then answers what was kept here."""
        self._refusal = _Refused(status, message)
        raise self._refusal

    def _pass_over(self) -> None:
        """Refuse a request that has come to its end."""
        self._is_passed_over = False
        if self.transport.is_closing():
            return
        stays = self.parser.should_keep_alive()
        metrics().refused("overload")
        self.transport.write(_too_much(stays))
        self.on_response_complete()
        if not stays:
            self.transport.close()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """End what takes too long to come; one timer looks after many requests, for each of them costs."""
        self._watching = None
        if self._reads_since is None:
            return
        left_s = self._reads_since + REQUEST_S - self.loop.time()
        if left_s > 0:
            self._watching = self.loop.call_later(left_s, self._watch)
        else:
            self._end(408, f"the request must come within {REQUEST_S:.0f} seconds")

    def _end(self, status: int, message: str) -> None:
        """Answer where no answer is on its way, then close."""
        if self.transport.is_closing():
            return
        if self._is_idle or (self.cycle.scope is self.scope and not self.cycle.response_started):
            metrics().refused(_REASONS[status])
            self.transport.write(_answer(status, message))  # to this request, not to an earlier one
        if self.cycle is not None:
            self.cycle.disconnected = True  # what is still at work for it is not sent
        self.transport.close()

    def _cancel_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None


@cache
def _too_much(stays: bool) -> bytes:
    return _answer(429, TOO_MUCH, stays)


def _answer(status: int, message: str, stays: bool = False) -> bytes:
    body: bytes = orjson.dumps({"error": message})
    headers: list[Any] = [
        STATUS_LINE[status],
        b"content-type: application/json\r\n",
        b"content-length: %d\r\n" % len(body),
        b"retry-after: 1\r\n" if status in (429, 503) else b"",
        b"\r\n" if stays else b"connection: close\r\n\r\n",
    ]
    return b"".join(headers) + body
