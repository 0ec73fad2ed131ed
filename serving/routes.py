"""The HTTP interface: reads requests, asks the application, and says what went wrong in one form.

Errors are ``{"error": message}`` with a 4xx. Bodies and ids never reach a log: of an unexpected fault
only its place in the code is logged.
"""

import logging
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from serving import schemas
from serving.application import Application, Refused
from serving.metrics import exposition, metrics
from serving.openapi import Endpoint, document

MAX_BODY = 16 * 2**20  # bytes

logger = logging.getLogger("perkwise")

Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[Request], Awaitable[Response]]


async def recommend(request: Request) -> Response:
    answer = await _application(request).recommend(await _body(request, schemas.RecommendRequest))
    metrics().decided(answer["arm"])
    return _json(answer)


async def recommend_batch(request: Request) -> Response:
    body = await _body(request, schemas.BatchRequest)
    answered = await _application(request).recommend_batch(body.requests)
    for one in answered:
        if "arm" in one:
            metrics().decided(one["arm"])
    statuses = [one.get("status", 200) for one in answered]
    return _json({"answers": answered}, 200 if 200 in statuses else statuses[0])


async def events(request: Request) -> Response:
    body = await _body(request, schemas.EventsRequest)
    answer = await _application(request).events(body.events)
    if answer["accepted"] or answer["duplicate"]:
        return _json(answer)
    return _json({"error": _first_reason(answer), **answer}, 409 if answer["conflict"] else 400)


async def feedback(request: Request) -> Response:
    return _json(await _application(request).feedback(await _body(request, schemas.FeedbackRequest)))


async def decision(request: Request) -> Response:
    return _json(await _application(request).decision(request.path_params["decision_id"]))


async def profile(request: Request) -> Response:
    return _json(await _application(request).profile(request.path_params["user_id"]))


async def delete_user(request: Request) -> Response:
    return _json(await _application(request).delete_user(request.path_params["user_id"]))


async def services(request: Request) -> Response:
    return _json(await _application(request).services())


ENDPOINTS = (
    Endpoint(
        "POST",
        "/recommend",
        recommend,
        "The ranked list of services for one user.",
        schemas.RecommendAnswer,
        schemas.RecommendRequest,
        ("400", "409", "413"),
    ),
    Endpoint(
        "POST",
        "/recommend_batch",
        recommend_batch,
        "Lists for many users; 200 if any was answered.",
        schemas.BatchAnswer,
        schemas.BatchRequest,
        ("400", "409", "413"),
    ),
    Endpoint(
        "POST",
        "/events",
        events,
        "Events that happened; 200 if any was kept, now or before.",
        schemas.EventsAnswer,
        schemas.EventsRequest,
        ("400", "409", "413"),
    ),
    Endpoint(
        "POST",
        "/feedback",
        feedback,
        "How likely a user is to recommend the shop, or a service.",
        schemas.FeedbackAnswer,
        schemas.FeedbackRequest,
        ("400", "409", "413"),
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
    """The routes; ``app.state.application`` must be set before the first request."""

    async def docs(request: Request) -> Response:
        return _json(openapi())

    async def counted(request: Request) -> Response:
        return Response(exposition(), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            *(Route(_any_id(one.path), _guarded(one), methods=[one.method]) for one in ENDPOINTS),
            Route("/docs.json", docs),
            Route("/metrics", counted),
        ]
    )


def _any_id(path: str) -> str:
    """The route's pattern: an id may hold a slash."""
    return path.replace("}", ":path}")


def _guarded(endpoint: Endpoint) -> Handler:
    """The handler with its errors translated and its time taken."""

    async def guarded(request: Request) -> Response:
        start = time.perf_counter()
        response = await _answer(endpoint.path, endpoint.handle, request)
        metrics().answered(endpoint.path, response.status_code, time.perf_counter() - start)
        return response

    return guarded


async def _answer(route: str, handle: Handler, request: Request) -> Response:
    try:
        return await handle(request)
    except Refused as refused:
        return _error(refused.status, str(refused))
    except ClientDisconnect:
        return _error(400, "the connection was closed before the body had come")
    except Exception as error:  # whatever it is, the caller learns that it is our fault, the log where
        place = traceback.extract_tb(error.__traceback__)[-1]
        logger.error("%s failed: %s at %s:%s", route, type(error).__name__, place.filename, place.lineno)
        return _error(500, f"Perkwise could not answer ({type(error).__name__}); the log says where.")


async def _body(request: Request, schema: type[Body]) -> Body:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY:
            raise Refused(413, f"the body must be at most {MAX_BODY} bytes: send several requests")
    try:
        return schema.model_validate_json(bytes(content))
    except ValidationError as error:
        raise Refused(400, schemas.faults(error)) from None


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _json(answer: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(answer), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json({"error": message}, status)


def _first_reason(answer: dict[str, Any]) -> str:
    return str(answer["verdicts"][0]["reason"])


if __name__ == "__main__":  # python -m serving.routes > docs/openapi.json
    sys.stdout.buffer.write(orjson.dumps(openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
