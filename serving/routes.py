"""The HTTP interface: reads requests, asks the application, and says what went wrong in one form.

Errors are ``{"error": message}`` with a 4xx. Bodies and ids never reach a log: of an unexpected fault
only its place in the code is logged. A body is read before the request gets its turn, and its turn has ended
when the answer is sent, so that slow callers keep nobody waiting.
"""

import logging
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from importlib.metadata import version
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from offers.settings import ServingSettings
from serving import schemas
from serving.application import Application, Refused
from serving.door import Door
from serving.edge import Guard, too_large
from serving.engines import Unavailable
from serving.limits import TooMuch
from serving.metrics import LIVE, exposition, metrics
from serving.openapi import Endpoint, document

MAX_BODY = ServingSettings().max_body_bytes  # where no guard says otherwise

_BODY, _RUNG = "perkwise.body", "perkwise.rung"  # in the scope of a request
_RETRY_AFTER_S = "5"  # where the database cannot take what is asked of it

logger = logging.getLogger("perkwise")

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


async def recommend(request: Request) -> Response:
    answer = await _application(request).recommend(_body(request, schemas.RecommendRequest))
    if logger.isEnabledFor(logging.DEBUG):
        _tell_decision(answer)
    request.scope[_RUNG] = answer["degraded"] or LIVE
    return _Json(answer)


async def recommend_batch(request: Request) -> Response:
    body = _body(request, schemas.BatchRequest)
    answered = await _application(request).recommend_batch(body.requests)
    if logger.isEnabledFor(logging.DEBUG):
        for one in answered:
            if "arm" in one:
                _tell_decision(one)
    statuses = [one.get("status", 200) for one in answered]
    return _Json({"answers": answered}, 200 if 200 in statuses else statuses[0])


async def events(request: Request) -> Response:
    body = _body(request, schemas.EventsRequest)
    answer = await _application(request).events(body.events)
    metrics().came_in({name: n_rows for name, n_rows in answer.items() if name != "verdicts"})
    if answer["accepted"] or answer["duplicate"]:
        return _Json(answer)
    return _Json({"error": _first_reason(answer), **answer}, 409 if answer["conflict"] else 400)


async def feedback(request: Request) -> Response:
    return _Json(await _application(request).feedback(_body(request, schemas.FeedbackRequest)))


async def decision(request: Request) -> Response:
    return _Json(await _application(request).decision(request.path_params["decision_id"]))


async def profile(request: Request) -> Response:
    return _Json(await _application(request).profile(request.path_params["user_id"]))


async def delete_user(request: Request) -> Response:
    answer = await _application(request).delete_user(request.path_params["user_id"])
    metrics().deleted()
    return _Json(answer)


async def services(request: Request) -> Response:
    return _Json(await _application(request).services())


ENDPOINTS = (
    Endpoint(
        "POST",
        "/recommend",
        recommend,
        "The ranked list of services for one user.",
        schemas.RecommendAnswer,
        schemas.RecommendRequest,
        ("409",),
    ),
    Endpoint(
        "POST",
        "/recommend_batch",
        recommend_batch,
        "Lists for many users; 200 if any was answered.",
        schemas.BatchAnswer,
        schemas.BatchRequest,
        ("409",),
    ),
    Endpoint(
        "POST",
        "/events",
        events,
        "Events that happened; 200 if any was kept, now or before.",
        schemas.EventsAnswer,
        schemas.EventsRequest,
        ("409",),
    ),
    Endpoint(
        "POST",
        "/feedback",
        feedback,
        "How likely a user is to recommend the shop, or a service.",
        schemas.FeedbackAnswer,
        schemas.FeedbackRequest,
        ("409",),
    ),
    Endpoint(
        "GET",
        "/decisions/{decision_id}",
        decision,
        "A decision and all that led to it.",
        schemas.DecisionAnswer,
        errors=("404",),
    ),
    Endpoint(
        "GET",
        "/users/{user_id}/profile",
        profile,
        "What is known of a user now.",
        schemas.ProfileAnswer,
        errors=("404",),
    ),
    Endpoint(
        "DELETE",
        "/users/{user_id}",
        delete_user,
        "Remove a user, and refuse what comes in about them later.",
        schemas.DeletedAnswer,
        errors=("404",),
    ),
    Endpoint("GET", "/services", services, "The catalogue that lists are made from.", schemas.ServicesAnswer),
)


def openapi() -> dict[str, Any]:
    """The OpenAPI document, as /docs.json serves it."""
    return document(ENDPOINTS, version("perkwise"))


def make_app() -> Starlette:
    """The routes; ``app.state.application`` must be set before the first request.

    Where ``app.state.guard`` is set too, its limits hold.
    """

    async def docs(request: Request) -> Response:
        return _Json(openapi())

    async def counted(request: Request) -> Response:
        _tell_gauges(request)
        return Response(exposition(), media_type="text/plain; version=0.0.4")

    handlers = {(one.method, one.path): _guarded(one) for one in ENDPOINTS}
    app = Starlette(
        routes=[
            *(Route(_any_id(path), handle, methods=[method]) for (method, path), handle in handlers.items()),
            Route("/docs.json", docs),
            Route("/metrics", counted),
        ],
        exception_handlers={HTTPException: _no_such_route},
    )
    app.router.redirect_slashes = False
    app.state.door = Door()
    app.state.handlers = handlers  # by which the edge calls those of a fixed path without a search
    return app


def _any_id(path: str) -> str:
    """The route's pattern: an id may hold a slash."""
    return path.replace("}", ":path}")


def _guarded(endpoint: Endpoint) -> Handler:
    """The handler in its turn, with its errors translated and its time taken."""

    async def guarded(request: Request) -> Response:
        start = time.perf_counter()
        response = await _answer(endpoint, request)
        rung = request.scope.get(_RUNG, "")
        metrics().answered(endpoint.path, response.status_code, time.perf_counter() - start, rung)
        return response

    return guarded


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    guard: Guard | None = getattr(request.app.state, "guard", None)
    try:
        if endpoint.body:
            await _read_body(request, guard)
        is_heavy = endpoint.handle is recommend_batch
        turn = guard.line.turn(is_heavy) if guard else nullcontext()
        async with request.app.state.door, turn:
            return await endpoint.handle(request)
    except Refused as refused:
        return _error(refused.status, str(refused))
    except Unavailable as unavailable:
        response = _error(503, str(unavailable))
        response.headers["retry-after"] = _RETRY_AFTER_S
        return response
    except TooMuch as too_much:
        response = _error(429, str(too_much), "overload")
        response.headers["retry-after"] = str(too_much.retry_after_s)
        return response
    except ClientDisconnect:
        return _error(400, "the connection was closed before the body had come", "disconnected")
    except Exception as error:  # whatever it is, the caller learns that it is our fault, the log where
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        logger.error("%s failed: %s at %s:%s", endpoint.path, kind, place.filename, place.lineno)
        return _error(500, f"Perkwise could not answer ({kind}); the log says where.")


async def _read_body(request: Request, guard: Guard | None) -> None:
    """The body, kept in the request's scope; nothing is read where the line is full already."""
    most = guard.max_body_bytes if guard else MAX_BODY
    if guard:
        guard.line.check()
    content = bytearray()
    more = True
    while more:  # as Request.stream, without a generator
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        content += message.get("body", b"")
        if len(content) > most:
            raise Refused(413, too_large(most))
        more = message.get("more_body", False)
    request.scope[_BODY] = bytes(content)


def _body(request: Request, schema: type[Body]) -> Body:
    try:
        return schema.model_validate_json(request.scope[_BODY])
    except ValidationError as error:
        raise Refused(400, schemas.faults(error)) from None


def _no_such_route(request: Request, error: Exception) -> Response:
    """Paths and methods that there are not."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        response = _error(405, "this path takes another method: see /docs.json", "method")
    else:
        response = _error(error.status_code, "there is no such path: see /docs.json", "path")
    response.headers.update(error.headers or {})
    return response


def _tell_decision(answer: dict[str, Any]) -> None:
    """Name a decision to whoever debugs; the log learns no user's id."""
    told = {name: answer[name] for name in ("decision_id", "arm", "degraded", "bundle")}
    logger.debug("decided", extra={"fields": {**told, "length": len(answer["services"])}})


def _tell_gauges(request: Request) -> None:
    application = _application(request)
    guard: Guard | None = getattr(request.app.state, "guard", None)
    metrics().stands(
        bundle=application.bundle.hash,
        n_users=application.state.n_users,
        n_services=len(application.bundle.catalog),
        n_keys=len(guard.keys) if guard else 0,
        n_waiting=len(guard.line) if guard else 0,
        n_working=guard.line.n_working if guard else 0,
    )
    if application.budgets:
        metrics().spends(application.budgets.answer(application.now_us()), application.budgets.is_throttled)


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


class _Json(Response):
    """An answer in JSON, made without what other kinds of answers need."""

    def __init__(self, answer: dict[str, Any], status: int = 200) -> None:
        self.status_code, self.body, self.background = status, orjson.dumps(answer), None
        length = b"%d" % len(self.body)
        self.raw_headers = [(b"content-length", length), (b"content-type", b"application/json")]


def _error(status: int, message: str, reason: str = "") -> Response:
    metrics().refused(reason or _REASONS.get(status, str(status)))
    return _Json({"error": message}, status)


def _first_reason(answer: dict[str, Any]) -> str:
    return str(answer["verdicts"][0]["reason"])


_REASONS = {
    400: "bad_request",
    404: "not_found",
    409: "conflict",
    413: "too_large",
    500: "fault",
    503: "unavailable",
}


if __name__ == "__main__":  # python -m serving.routes > docs/openapi.json
    sys.stdout.buffer.write(orjson.dumps(openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
