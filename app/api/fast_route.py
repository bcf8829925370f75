"""Routes that bypass FastAPI's routing, dependencies and response validation, which cost more than the rest.

For every request FastAPI matches the route twice, solves dependencies, inspects the type of each parameter and
validates a response that was built from validated parts: together half of the event loop's time for a small image. A
fast route validates all parameters in one step and serializes once: 548 -> 617 to 646 images/s at 96 px
(docs/benchmarks.md). FastAPI still generates the OpenAPI document from the same functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError, create_model
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.asgi import request_header
from app.parameter_names import parse_query
from app.request_context import get_context
from app.state import get_state

_WORK_METHODS = frozenset({"POST", "PUT"})


class FastRoute(APIRoute):
    """A route for `async def (request, parameters...)`, each parameter from the path, the query or a header.

    Errors that `problems` handles become responses here; others propagate.
    """

    endpoint: Callable[..., Awaitable[BaseModel | Response]]

    def __init__(self, path: str, endpoint: Callable[..., Any], **documented: Any) -> None:
        """Take the arguments of APIRoute; raises TypeError if the endpoint needs more than a fast route does."""
        super().__init__(path, endpoint, **documented)
        dependant = self.dependant
        if dependant.dependencies or dependant.body_params or dependant.cookie_params:
            raise TypeError(f"{path} uses dependencies, a body or cookies, which a FastRoute does not support")
        self._queries = [field.alias for field in dependant.query_params]
        self._headers = {field.alias: field.alias.lower().encode() for field in dependant.header_params}
        parameters = (*dependant.path_params, *dependant.query_params, *dependant.header_params)
        fields: dict[str, Any] = {field.name: (field.field_info.annotation, field.field_info) for field in parameters}
        self._parameters = create_model(self.name, **fields)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            _shed_load(request)
            content = await self.endpoint(request, **self._validate(request))
            response = content if isinstance(content, Response) else _json_response(content)
        except problems.HANDLED as error:
            response = await problems.handle(request, error)
            error.__traceback__ = None  # it refers to frames that hold the image and, through results, this error
        await response(scope, receive, send)

    def _validate(self, request: Request) -> dict[str, Any]:
        raw: dict[str, str | None] = dict(request.path_params)
        if request.scope["query_string"] and not get_context(request).is_probe:
            raw |= parse_query(request.scope["query_string"], self._queries)
        raw |= {name: request_header(request.scope, key) for name, key in self._headers.items()}
        try:
            present = {name: value for name, value in raw.items() if value is not None}
            validated: dict[str, Any] = vars(self._parameters.model_validate(present))
            return validated
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


class FastRouteMiddleware:
    """Dispatches to fast routes; other paths and methods go to the app."""

    def __init__(self, app: ASGIApp, routes: Sequence[FastRoute]) -> None:
        """Dispatch to `routes`, else to `app`."""
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        for route in self._routes:
            match, child_scope = route.matches(scope)
            if match is Match.FULL:
                scope.update(child_scope)
                await route.handle(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _shed_load(request: Request) -> None:
    """Early load shedding: while the queues are full, reject work before validating its parameters.

    A rejection then costs half the time, which an overloaded server lacks; it may come instead of 404 or 422. At four
    times the capacity at 96 px it halves the time of the slowest rejections.

    Raises:
        Overloaded, DeadlineUnmeetable: every queue is full.
    """
    service = get_state(request).manager.service
    if service and request.method in _WORK_METHODS:
        service.shed_load(
            get_context(request).deadline(_timeout_ms(request) or get_state(request).settings.deadline_ms)
        )


def _timeout_ms(request: Request) -> float | None:
    """Return the timeout header; None if it is missing or invalid, which the route reports."""
    with suppress(ValueError):
        timeout_ms = float(request_header(request.scope, b"x-request-timeout-ms") or "")
        return timeout_ms if timeout_ms > 0 else None
    return None


def _json_response(content: BaseModel) -> Response:
    return Response(content.model_dump_json(), media_type="application/json")
