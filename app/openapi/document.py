"""The document as a whole: what it says of the service, and what middleware and bodies read by hand add to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.constants import REF_TEMPLATE
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from app import VERSION
from app.api.schemas import Problem
from app.openapi.bodies import COMPONENTS
from app.openapi.examples import REQUEST_ID

_REQUEST_ID = "X-Request-ID"
_PARAMETER = {
    "name": _REQUEST_ID,
    "in": "header",
    "description": "Id for logs and answers: printable ASCII, 128 characters at most. Any other is replaced.",
    "schema": {"type": "string"},
    "example": REQUEST_ID,
}
_HEADER = {
    "description": "the id that was sent, or one made here",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    "example": REQUEST_ID,
}

_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""Two ways to send the same key."""

ABOUT: dict[str, Any] = {
    "title": "Image classification",
    "summary": "Says what a picture shows.",
    "description": (
        "Errors are problem+json (RFC 9457), below `/v2` those of the Open Inference Protocol; `code` is a stable name "
        "for programs. A 429 or 503 says in `Retry-After` when to come back, and where requests "
        "are limited `RateLimit` says in every answer what is left. Every answer has an `X-Request-ID`."
    ),
    "version": VERSION,
    "license_info": {"name": "MIT", "identifier": "MIT"},
    "openapi_tags": [
        {"name": "classify", "description": "Images in, classes or features out."},
        {"name": "TorchServe", "description": "The address and the answer of TorchServe, for clients made for it."},
        {"name": "Open Inference Protocol", "description": "V2 over REST, for clients of Triton, KServe and others."},
        {"name": "models", "description": "What can be asked, and how good it is."},
        {"name": "health", "description": "Probes and metrics, for operators."},
    ],
}
"""FastAPI's arguments about the service."""


class DocumentedApp(FastAPI):
    """FastAPI with a document that is whole, and operations named after their functions."""

    def __init__(self, closed: Callable[[str], bool], **arguments: Any) -> None:
        """Take what FastAPI takes, and what says of a path whether it needs a key."""
        self._closed = closed
        super().__init__(generate_unique_id_function=_operation_id, **ABOUT, **arguments)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            _add_components(document["components"])
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _add_request_id(operation)
                    if self._closed(path):
                        operation["security"] = [{scheme: []} for scheme in _KEYS]
            if any(map(self._closed, document["paths"])):
                document["components"]["securitySchemes"] = _KEYS
        assert self.openapi_schema is not None
        return self.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return route.name


def _add_components(components: dict[str, Any]) -> None:
    _, bodies = models_json_schema([(model, "validation") for model in COMPONENTS], ref_template=REF_TEMPLATE)
    problem = Problem.model_json_schema(mode="serialization")
    components["schemas"].update({**bodies["$defs"], Problem.__name__: problem})
    components["parameters"] = {_REQUEST_ID: _PARAMETER}
    components["headers"] = {_REQUEST_ID: _HEADER}


def _add_request_id(operation: dict[str, Any]) -> None:
    operation.setdefault("parameters", []).append({"$ref": f"#/components/parameters/{_REQUEST_ID}"})
    for response in operation["responses"].values():
        response.setdefault("headers", {})[_REQUEST_ID] = {"$ref": f"#/components/headers/{_REQUEST_ID}"}
