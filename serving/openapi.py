"""The OpenAPI document of the HTTP interface, made from the endpoints themselves."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from serving.schemas import ErrorAnswer

_REFERENCE = "#/components/schemas/{model}"
_TEXT_ENDPOINTS = {
    "/livez": "Is the process alive?",
    "/readyz": "Is it ready to answer?",
    "/metrics": "What it counted, for Prometheus.",
}
_ERRORS = {
    "400": "The request is not as expected; the message says what is.",
    "401": "An API key is needed, or this one is not known.",
    "403": "This key may only read.",
    "404": "There is nothing of this id.",
    "409": "The id was used before with another body.",
    "413": "The request is too large.",
    "415": "The body must be JSON, and as it is.",
    "429": "Too much is asked; Retry-After says when to come again.",
    "503": "The database cannot take it now; nothing counts as kept, the same ids may be sent again.",
}
_OF_ALL, _OF_BODIES = ("401", "403", "429", "503"), ("400", "413", "415")


@dataclass(frozen=True)
class Endpoint:
    """One method of one path, with what it takes and gives."""

    method: str
    path: str
    handle: Callable[[Request], Awaitable[Response]]
    summary: str
    answer: type[BaseModel]
    body: type[BaseModel] | None = None
    errors: tuple[str, ...] = ()


def document(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 for these endpoints, and for those that every BentoML service has."""
    requests = [(one.body, "validation") for one in endpoints if one.body]
    responses = [(one.answer, "serialization") for one in endpoints] + [(ErrorAnswer, "serialization")]
    _, schemas = models_json_schema([*requests, *responses], ref_template=_REFERENCE)  # type: ignore[list-item]
    paths: dict[str, Any] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    for path, summary in _TEXT_ENDPOINTS.items():
        paths[path] = {"get": {"summary": summary, "responses": {"200": _text("As it says.")}}}
    paths["/metrics"]["get"]["responses"]["401"] = _json(_ERRORS["401"], ErrorAnswer)
    paths["/readyz"]["get"]["responses"]["503"] = _json("Not yet, or not any more.", ErrorAnswer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perkwise",
            "version": version,
            "description": "Which services to offer to whom, how many, and when none.",
        },
        "paths": paths,
        "security": [{"key": []}, {}],
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    errors = {*endpoint.errors, *_OF_ALL, *(_OF_BODIES if endpoint.body else ())}
    if endpoint.method == "GET":
        errors.discard("403")
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.handle.__name__,
        "responses": {
            "200": _json("The answer.", endpoint.answer),
            **{status: _json(_ERRORS[status], ErrorAnswer) for status in sorted(errors)},
        },
    }
    parameters = re.findall(r"{(\w+)}", endpoint.path)
    if parameters:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ]
    if endpoint.body:
        operation["requestBody"] = {"required": True, **_content(endpoint.body)}
    return operation


def _json(description: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, **_content(model)}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    reference = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"content": {"application/json": {"schema": reference}}}


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}
