"""What an operation answers, as FastAPI's `responses`.

Errors are named by their types; their statuses, codes and examples follow from the table in `problems`.
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
    UnsupportedMediaType,
    WorkerDied,
)
from app.openapi.examples import meaning, problem
from models.errors import EmptyImage, ImageTooLarge, UndecodableImage, UnsupportedImage

Responses = dict[int | str, dict[str, Any]]
Headers = Mapping[str, dict[str, Any]]
Kinds = tuple[type[Exception], ...]

GUARDED: Kinds = (Unauthorized, RateLimited, ConcurrencyLimited)
NEEDS_MODELS: Kinds = (NotReady, Draining, WorkerDied)
READS_BODY: Kinds = (EmptyBody, MalformedBody, BodyTimeout, BodyTooLarge)
READS_UPLOAD: Kinds = (*READS_BODY, UnsupportedMediaType, MissingField)
DECODES: Kinds = (EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage)
QUEUES: Kinds = (Overloaded, DeadlineUnmeetable)
RUNS: Kinds = (*QUEUES, DeadlineExceeded, BatchFailed)

SERVER_TIMING: Headers = {
    "Server-Timing": {
        "description": "where the time went, in milliseconds (W3C Server Timing)",
        "required": True,
        "schema": {"type": "string"},
        "example": "decode;dur=2.28, queue;dur=0.39, inference;dur=22.92, total;dur=27.2",
    }
}
_RETRY_AFTER: Headers = {
    "Retry-After": {
        "description": "seconds after which work may be taken again",
        "required": True,
        "schema": {"type": "integer", "minimum": problems.LEAST_RETRY_AFTER_S},
        "example": 1,
    }
}


def answer(
    headers: Headers | None = None,
    others: Mapping[str, dict[str, Any]] | None = None,
    /,
    **examples: BaseModel,
) -> Responses:
    """What was asked for: JSON, with examples of it, or what `others` has by media type."""
    shown = {name: {"value": example.model_dump(mode="json", exclude_none=True)} for name, example in examples.items()}
    content = {"application/json": {"examples": shown}, **(others or {})}
    return {200: {"content": content, "headers": {**(headers or {})}}}


def errors(path: str, *kinds: type[Exception]) -> Responses:
    """Problems that an address answers with."""
    schema = {"$ref": REF_TEMPLATE.format(model=Problem.__name__)}
    return {
        status: _error(status, {problems.MEDIA_TYPE: {"schema": schema, "examples": _examples(path, same)}})
        for status, same in _by_status(kinds)
    }


def v2_errors(*kinds: type[Exception]) -> Responses:
    """The same in the form of the Open Inference Protocol."""
    found: Responses = {}
    for status, same in _by_status(kinds):
        examples = {
            code: {**example, "value": {"error": example["value"]["detail"]}}
            for code, example in _examples("/v2", same).items()
        }
        found[status] = {"model": V2Error, **_error(status, {"application/json": {"examples": examples}})}
    return found


def _by_status(kinds: Iterable[type[Exception]]) -> list[tuple[int, list[type[Exception]]]]:
    statuses: dict[int, list[type[Exception]]] = {}
    for kind in kinds:
        statuses.setdefault(problems.STATUS.get(kind, 500), []).append(kind)
    return sorted(statuses.items())


def _examples(path: str, kinds: Iterable[type[Exception]]) -> dict[str, dict[str, Any]]:
    shown = [(problem(path, kind), kind) for kind in kinds]
    return {each.code: {"summary": meaning(kind), "value": each.model_dump()} for each, kind in shown}


def _error(status: int, content: dict[str, Any]) -> dict[str, Any]:
    headers = _RETRY_AFTER if status in (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE) else {}
    return {"description": http.HTTPStatus(status).phrase, "content": content, "headers": {**headers}}
