"""The responses of each operation, as FastAPI's `responses`.

Errors are given as exception types; their statuses, codes and examples follow from the table in `app.api.problems`.
"""

from __future__ import annotations

import http
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import BaseModel

from app.api import problems
from app.api.schemas import Problem, V2Error
from app.errors import (
    BadParameter,
    BatchFailed,
    BodyTimeout,
    BodyTooLarge,
    ConcurrencyLimited,
    DeadlineExceeded,
    DeadlineUnmeetable,
    Draining,
    EmptyBody,
    MalformedBody,
    MissingField,
    NotReady,
    Overloaded,
    RateLimited,
    Unauthorized,
    UnsupportedContentEncoding,
    UnsupportedMediaType,
    WorkerDied,
)
from app.openapi.examples import problem, summary
from models.decoding.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage

Responses = dict[int | str, dict[str, Any]]
Headers = Mapping[str, dict[str, Any]]
ErrorTypes = tuple[type[Exception], ...]

AUTH_ERRORS: ErrorTypes = (Unauthorized, RateLimited, ConcurrencyLimited)
READINESS_ERRORS: ErrorTypes = (NotReady, Draining, WorkerDied)
BODY_ERRORS: ErrorTypes = (EmptyBody, MalformedBody, BodyTimeout, BodyTooLarge, UnsupportedContentEncoding)
UPLOAD_ERRORS: ErrorTypes = (*BODY_ERRORS, UnsupportedMediaType, MissingField, BadParameter)
DECODE_ERRORS: ErrorTypes = (EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage)
QUEUE_ERRORS: ErrorTypes = (Overloaded, DeadlineUnmeetable)
INFERENCE_ERRORS: ErrorTypes = (*QUEUE_ERRORS, DeadlineExceeded, BatchFailed)

SERVER_TIMING: Headers = {
    "Server-Timing": {
        "description": "time spent in each step, in milliseconds (W3C Server Timing)",
        "required": True,
        "schema": {"type": "string"},
        "example": "decode;dur=2.28, queue;dur=0.39, inference;dur=22.92, total;dur=27.2",
    }
}
_RETRY_AFTER: Headers = {
    "Retry-After": {
        "description": "seconds to wait before sending the request again",
        "required": True,
        "schema": {"type": "integer", "minimum": problems.MIN_RETRY_AFTER_S},
        "example": 1,
    }
}


def success(
    headers: Headers | None = None,
    other_media_types: Mapping[str, dict[str, Any]] | None = None,
    /,
    **examples: BaseModel,
) -> Responses:
    """Document a response with status 200: JSON with examples, and other content by media type."""
    json_examples = {
        name: {"value": example.model_dump(mode="json", exclude_none=True)} for name, example in examples.items()
    }
    content = {"application/json": {"examples": json_examples}, **(other_media_types or {})}
    return {200: {"content": content, "headers": {**(headers or {})}}}


def error_responses(path: str, *error_types: type[Exception]) -> Responses:
    """Document error responses of a path as problem+json."""
    schema = {"$ref": REF_TEMPLATE.format(model=Problem.__name__)}
    return {
        status: _error(status, {problems.MEDIA_TYPE: {"schema": schema, "examples": _examples(path, same_status)}})
        for status, same_status in _by_status(error_types)
    }


def v2_error_responses(*error_types: type[Exception]) -> Responses:
    """Document error responses in the form of the Open Inference Protocol."""
    documented: Responses = {}
    for status, same_status in _by_status(error_types):
        examples = {
            code: {**example, "value": {"error": example["value"]["detail"]}}
            for code, example in _examples("/v2", same_status).items()
        }
        documented[status] = {"model": V2Error, **_error(status, {"application/json": {"examples": examples}})}
    return documented


def _by_status(error_types: Iterable[type[Exception]]) -> list[tuple[int, list[type[Exception]]]]:
    statuses: dict[int, list[type[Exception]]] = {}
    for error_type in error_types:
        statuses.setdefault(problems.STATUS.get(error_type, 500), []).append(error_type)
    return sorted(statuses.items())


def _examples(path: str, error_types: Iterable[type[Exception]]) -> dict[str, dict[str, Any]]:
    examples = [(problem(path, error_type), error_type) for error_type in error_types]
    return {
        example.code: {"summary": summary(error_type), "value": example.model_dump()}
        for example, error_type in examples
    }


def _error(status: int, content: dict[str, Any]) -> dict[str, Any]:
    headers = _RETRY_AFTER if status in (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE) else {}
    return {"description": http.HTTPStatus(status).phrase, "content": content, "headers": {**headers}}
