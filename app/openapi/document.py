"""The OpenAPI document as a whole: service information, request IDs, security schemes and request bodies."""

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
    "description": "ID for logs and responses: printable ASCII, at most 128 characters. An invalid ID is replaced.",
    "schema": {"type": "string"},
    "example": REQUEST_ID,
}
_HEADER = {
    "description": "the request ID that was sent, or a generated one",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    "example": REQUEST_ID,
}

_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""Two ways to send an API key."""

SERVICE_INFO: dict[str, Any] = {
    "title": "Image classification",
    "summary": "Classifies images.",
    "description": (
        "Errors are problem+json (RFC 9457) with a stable `code`; below `/v2` they have the form of the Open Inference "
        "Protocol. Responses with status 429 or 503 have a `Retry-After` header. If the server has a rate limit, every "
        "response has `RateLimit` headers. Every response has an `X-Request-ID` header. Any request for a host that is "
        "not the server's gets 421 (`unknown_host`), and any that a page of another origin sends 403 (`cross_origin`)."
    ),
    "version": VERSION,
    "license_info": {"name": "MIT", "identifier": "MIT"},
    "openapi_tags": [
        {"name": "classify", "description": "Classify images, or compute their features."},
        {"name": "TorchServe", "description": "Prediction endpoints compatible with TorchServe clients."},
        {
            "name": "Open Inference Protocol",
            "description": "Open Inference Protocol V2 over REST, for clients of Triton, KServe and others.",
        },
        {"name": "models", "description": "The available models and their accuracy."},
        {"name": "health", "description": "Health probes and metrics."},
    ],
}
"""FastAPI arguments that describe the service."""


class DocumentedApp(FastAPI):
    """FastAPI app with a complete OpenAPI document and operation IDs named after the route functions."""

    def __init__(self, needs_key: Callable[[str], bool], **arguments: Any) -> None:
        """Create the app; `needs_key` returns whether a path requires an API key; the rest is passed to FastAPI."""
        self._needs_key = needs_key
        super().__init__(generate_unique_id_function=_operation_id, **SERVICE_INFO, **arguments)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            _add_components(document["components"])
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _add_request_id(operation)
                    if self._needs_key(path):
                        operation["security"] = [{scheme: []} for scheme in _KEYS]
            if any(map(self._needs_key, document["paths"])):
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
