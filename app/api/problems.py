"""Errors -> RFC 9457 problem+json: one table, one way out."""

from __future__ import annotations

import http
import math
from collections.abc import Sequence
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from app import errors
from app.api.schemas import Problem, V2Error
from app.state import get_state
from models import errors as models_errors

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Exception], int] = {
    errors.EmptyBody: 400,
    errors.MalformedBody: 400,
    models_errors.EmptyImage: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    models_errors.ModelNotFound: 404,
    errors.BodyTimeout: 408,
    errors.Conflict: 409,
    errors.BodyTooLarge: 413,
    errors.TooManyImages: 413,
    models_errors.ImageTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    models_errors.UnsupportedImage: 415,
    errors.MissingField: 422,
    errors.BadParameter: 422,
    models_errors.UndecodableImage: 422,
    errors.RateLimited: 429,
    errors.ConcurrencyLimited: 429,
    errors.NotReady: 503,
    errors.Draining: 503,
    errors.WorkerDied: 503,
    errors.BatcherClosed: 503,
    errors.Overloaded: 503,
    errors.DeadlineUnmeetable: 503,
    errors.DeadlineExceeded: 504,
}
"""What a caller may be told, by the type of the error. Anything else is a fault of ours: 500."""

EXPECTED: tuple[type[Exception], ...] = (*STATUS, errors.BatchFailed, MemoryError)
"""Every error with a place in `app.errors` or `models.errors`, and a machine that has too little memory just now."""

HANDLED: tuple[type[Exception], ...] = (*EXPECTED, RequestValidationError, HTTPException, ClientDisconnect)
"""Every error that becomes an answer where its route was called."""

_PARTS = frozenset({"path", "query", "header", "body"})
_NOT_SENT = "none_required"
"""What pydantic says of None, which stands for what is not sent: no caller can be told to send that."""

FAULT = "Something went wrong here; the log has it by its request id."
"""All that a caller is told of a fault of ours."""

_NO_MEMORY = "There is too little memory for this now. Send it again later, or smaller."

LEAST_RETRY_AFTER_S = 1
_LONGEST_GUESS_S = 60
_CLIENT_GONE = 499
_CODES = {404: "not_found", 405: "method_not_allowed"}

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
"""Those that an address may allow."""

_OF_FILES = ("GET", "HEAD")

logger = structlog.get_logger("app")


def describe(error: Exception, request: Request) -> Problem:
    """What the caller is told of an error; nothing of one that is not in the table."""
    if isinstance(error, MemoryError):
        error = errors.Overloaded(_NO_MEMORY, LEAST_RETRY_AFTER_S)
    if isinstance(error, RequestValidationError):
        return _problem(request, 422, errors.BadParameter.code, _first_lines(error))
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "http_error")
        return _problem(request, error.status_code, code, str(error.detail))
    for kind in type(error).__mro__:
        if kind in STATUS:
            return _problem(request, STATUS[kind], error.code, str(error))  # type: ignore[attr-defined]
    return _problem(request, 500, errors.BatchFailed.code, FAULT)


def note(request: Request, error: Exception) -> Problem:
    """Describe an error, log one that operators should see whole, and count work that is turned away."""
    problem = describe(error, request)
    if problem.status == 500 or isinstance(error, MemoryError):
        logger.error("request failed", exc_info=error)
    elif problem.status in (429, 503, 504) and not request.state.is_probe:
        get_state(request).metrics.rejected.labels(problem.code).inc()
    return problem


def respond(request: Request, error: Exception) -> Response:
    """An error as problem+json, or as the Open Inference Protocol wants it below its address."""
    problem = note(request, error)
    headers = headers_of(problem.status, error)
    if f"{request.state.own_path}/".startswith("/v2/"):
        told = V2Error(error=problem.detail)
        return Response(told.model_dump_json(), problem.status, headers, "application/json")
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


def headers_of(status: int, error: Exception) -> dict[str, str]:
    """What an error says in the headers of its answer, of whatever form that is."""
    headers = dict(getattr(error, "headers", None) or {})
    if status in (429, 503):
        headers["Retry-After"] = str(retry_after_s(error))
    if status == 408:
        headers["Connection"] = "close"  # the rest of the body may come at any time
    return headers


def retry_after_s(error: Exception | None = None) -> int:
    """Whole seconds after which work may be taken again: at least one, since that is all the header can say.

    How long the queue takes is a guess, of which nobody should wait more than a minute; a limit's end is known.
    """
    expected = math.ceil(error.retry_after_s) if isinstance(error, errors.RetryLater) else 0
    if not isinstance(error, errors.RateLimited):
        expected = min(expected, _LONGEST_GUESS_S)
    return max(expected, LEAST_RETRY_AFTER_S)


def install(app: FastAPI) -> None:
    """Answer every error of the table, and FastAPI's and Starlette's own, as problem+json."""
    for kind in HANDLED:
        app.add_exception_handler(kind, handle)
    app.add_exception_handler(http.HTTPStatus.METHOD_NOT_ALLOWED, _wrong_method)


async def handle(request: Request, error: Exception) -> Response:
    """The answer to an error that is one of `HANDLED`."""
    if isinstance(error, ClientDisconnect):
        get_state(request).metrics.cancelled.inc()
        return Response(status_code=_CLIENT_GONE)
    return respond(request, error)


async def _wrong_method(request: Request, error: Exception) -> Response:
    """Name every method of the address: the router itself stops at the first route that has it."""
    response = respond(request, error)
    allowed = [method for method in METHODS if _has_route(request, method)]
    response.headers["Allow"] = ", ".join(allowed or _OF_FILES)  # a mount has no routes: it holds files
    return response


def _has_route(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def _problem(request: Request, status: int, code: str, detail: str) -> Problem:
    return Problem(
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=quote(request.scope["path"]),
        code=code,
        request_id=request.state.request_id,
    )


def _first_lines(error: RequestValidationError) -> str:
    wrong = [problem for problem in error.errors() if problem["type"] != _NOT_SENT]
    return "; ".join(f"{_parameter(problem['loc'])}: {problem['msg']}" for problem in wrong) + "."


def _parameter(where: Sequence[str | int]) -> str | int:
    """Its name: FastAPI says before it in which part of a request it is, pydantic behind it which type was tried."""
    return next((part for part in where if part not in _PARTS), where[-1])
