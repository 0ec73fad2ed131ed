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
    "404": "There is nothing of this id.",
    "409": "The id was used before with another body.",
    "413": "The request is too large.",
}


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
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Perkwise",
            "version": version,
            "description": "Which services to offer to whom, how many, and when none.",
        },
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": endpoint.handle.__name__,
        "responses": {
            "200": _json("The answer.", endpoint.answer),
            **{status: _json(_ERRORS[status], ErrorAnswer) for status in endpoint.errors},
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
