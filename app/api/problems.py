"""Turn errors into HTTP responses: RFC 9457 problem+json, with the status from one table."""

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
from app.request_context import get_context
from app.state import get_state
from models.decoding import errors as image_errors
from models.errors import ModelNotFound

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Exception], int] = {
    errors.EmptyBody: 400,
    errors.MalformedBody: 400,
    image_errors.EmptyImage: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.CrossOrigin: 403,
    ModelNotFound: 404,
    errors.BodyTimeout: 408,
    errors.Conflict: 409,
    errors.BodyTooLarge: 413,
    errors.TooManyImages: 413,
    image_errors.ImageTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.UnsupportedContentEncoding: 415,
    image_errors.UnsupportedImage: 415,
    errors.UnknownHost: 421,
    errors.MissingField: 422,
    errors.BadParameter: 422,
    image_errors.UndecodableImage: 422,
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
"""HTTP status of each error type whose message is shown to clients; any other error is 500."""

EXPECTED: tuple[type[Exception], ...] = (*STATUS, errors.BatchFailed, MemoryError)
"""Errors that `app.errors` and `models` define, and a shortage of memory."""

HANDLED: tuple[type[Exception], ...] = (*EXPECTED, RequestValidationError, HTTPException, ClientDisconnect)
"""Errors that become a response in the route that raised them."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
"""HTTP methods that a route may allow."""

INTERNAL_ERROR = "Internal server error. Quote the request ID when reporting it."
"""Message of every unexpected error; the log has the details."""

MIN_RETRY_AFTER_S = 1

_OUT_OF_MEMORY = "The server is out of memory. Retry later, or send a smaller image."
_MAX_ESTIMATED_RETRY_S = 60
_CLIENT_CLOSED_REQUEST = 499  # as nginx logs it; no client receives it
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
_LOCATIONS = frozenset({"path", "query", "header", "body"})
_NONE_BRANCH = "none_required"
"""Pydantic's error for the None branch of an optional parameter; no client can send None, so it is left out."""
_FILE_METHODS = ("GET", "HEAD")

logger = structlog.get_logger("app")


def install(app: FastAPI) -> None:
    """Register handlers that turn expected errors, and those of FastAPI and Starlette, into problem+json."""
    for error_type in HANDLED:
        app.add_exception_handler(error_type, handle)
    app.add_exception_handler(http.HTTPStatus.METHOD_NOT_ALLOWED, _method_not_allowed)
    app.add_exception_handler(http.HTTPStatus.NOT_FOUND, _not_found)


async def handle(request: Request, error: Exception) -> Response:
    """Return the response to an error of `HANDLED`."""
    if isinstance(error, ClientDisconnect):
        get_state(request).metrics.cancelled.inc()
        return Response(status_code=_CLIENT_CLOSED_REQUEST)
    return respond(request, error)


def respond(request: Request, error: Exception) -> Response:
    """Report an error and return it as problem+json, or, below /v2, in the form of the Open Inference Protocol."""
    problem = report(request, error)
    headers = error_headers(problem.status, error)
    if f"{get_context(request).path}/".startswith("/v2/"):
        content = V2Error(error=problem.detail)
        return Response(content.model_dump_json(), problem.status, headers, "application/json")
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


def report(request: Request, error: Exception) -> Problem:
    """Describe an error for the client; log it if it is internal, count it if it is a rejection."""
    problem = describe(error, request)
    if problem.status == 500 or isinstance(error, MemoryError):
        logger.error("request failed", exc_info=error)
    elif problem.status in (429, 503, 504) and not get_context(request).is_probe:
        get_state(request).metrics.rejected.labels(problem.code).inc()
    return problem


def describe(error: Exception, request: Request) -> Problem:
    """Describe an error for the client; an unexpected error reveals nothing."""
    if isinstance(error, MemoryError):
        error = errors.Overloaded(_OUT_OF_MEMORY, MIN_RETRY_AFTER_S)
    if isinstance(error, RequestValidationError):
        return _problem(request, 422, errors.BadParameter.code, _validation_messages(error))
    if isinstance(error, HTTPException):
        code = _HTTP_CODES.get(error.status_code, "http_error")
        return _problem(request, error.status_code, code, str(error.detail))
    for error_type in type(error).__mro__:
        if error_type in STATUS:
            return _problem(request, STATUS[error_type], error.code, str(error))  # type: ignore[attr-defined]
    return _problem(request, 500, errors.BatchFailed.code, INTERNAL_ERROR)


def error_headers(status: int, error: Exception) -> dict[str, str]:
    """Return the response headers of an error."""
    headers = dict(getattr(error, "headers", None) or {})
    if status in (429, 503):
        headers["Retry-After"] = str(retry_after_s(error))
    if status == 408:
        headers["Connection"] = "close"  # the rest of the body may still arrive
    return headers


def retry_after_s(error: Exception | None = None) -> int:
    """Return the whole seconds, at least 1, after which the client should retry.

    The length of the queue is an estimate, so it is capped at a minute; the end of a rate limit is exact.
    """
    estimate = math.ceil(error.retry_after_s) if isinstance(error, errors.RetryLater) else 0
    if not isinstance(error, errors.RateLimited):
        estimate = min(estimate, _MAX_ESTIMATED_RETRY_S)
    return max(estimate, MIN_RETRY_AFTER_S)


async def _method_not_allowed(request: Request, error: Exception) -> Response:
    """List every method of the path in `Allow`; the router itself lists only those of the first matching route."""
    response = respond(request, error)
    allowed = [method for method in METHODS if _has_route(request, "GET" if method == "HEAD" else method)]
    response.headers["Allow"] = ", ".join(allowed or _FILE_METHODS)  # a mount of files has no routes
    return response


async def _not_found(request: Request, error: Exception) -> Response:
    """Redirect to the path without its final slash, if there is one.

    The Location is relative, because the server knows neither the scheme nor the host that clients use behind a proxy.
    """
    path: str = request.scope["path"]
    stem = path.removesuffix("/")
    if path != stem and stem and _has_route(request, request.method, stem):
        query = request.scope["query_string"].decode("latin-1")
        location = f"../{quote(stem.rpartition('/')[2])}{f'?{query}' if query else ''}"
        return Response(status_code=307, headers={"Location": location})
    return respond(request, error)


def _has_route(request: Request, method: str, path: str | None = None) -> bool:
    scope = {**request.scope, "method": method, "path": path or request.scope["path"]}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def _problem(request: Request, status: int, code: str, detail: str) -> Problem:
    return Problem(
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=quote(request.scope["path"]),
        code=code,
        request_id=get_context(request).request_id,
    )


def _validation_messages(error: RequestValidationError) -> str:
    """Join the messages of all invalid parameters into one sentence."""
    problems = [problem for problem in error.errors() if problem["type"] != _NONE_BRANCH]
    return "; ".join(f"{_parameter_name(problem['loc'])}: {problem['msg']}" for problem in problems) + "."


def _parameter_name(location: Sequence[str | int]) -> str | int:
    """Return the parameter's name; FastAPI puts its location before it, pydantic the tried type behind it."""
    return next((part for part in location if part not in _LOCATIONS), location[-1])
