"""Routes that are found before all others, whose parameters are validated in one go, and whose answers not again.

For every request FastAPI looks for its route twice, prepares for dependencies, asks of each parameter what kind of type
it has, and validates what a function has made of validated parts: together half of what a small picture costs the event
loop, and most of what it costs to refuse one. It still makes the document, of the same functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError, create_model
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import overload, problems
from app.state import request_header


class FastRoute(APIRoute):
    """A route for `async def (request, parameters…)`, each of them of the path, the query or a header.

    Errors of the table in `problems` become answers here; all others are for whoever called.
    """

    endpoint: Callable[..., Awaitable[BaseModel | Response]]

    def __init__(self, path: str, endpoint: Callable[..., Any], **documented: Any) -> None:
        """Take what FastAPI takes."""
        super().__init__(path, endpoint, **documented)
        known = self.dependant
        if known.dependencies or known.body_params or known.cookie_params:
            raise TypeError(f"{path} needs what only FastAPI does for a route: dependencies, a body, or cookies")
        self._queries = [field.alias for field in known.query_params]
        self._headers = {field.alias: field.alias.lower().encode() for field in known.header_params}
        described = (*known.path_params, *known.query_params, *known.header_params)
        fields: dict[str, Any] = {each.name: (each.field_info.annotation, each.field_info) for each in described}
        self._parameters = create_model(self.name, **fields)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            overload.check(request)
            answer = await self.endpoint(request, **self._validated(request))
            response = answer if isinstance(answer, Response) else _as_json(answer)
        except problems.HANDLED as error:
            response = await problems.handle(request, error)
        await response(scope, receive, send)

    def _validated(self, request: Request) -> dict[str, Any]:
        sent: dict[str, str | None] = dict(request.path_params)
        if request.scope["query_string"]:
            sent |= {name: request.query_params.get(name) for name in self._queries}
        sent |= {name: request_header(request.scope, key) for name, key in self._headers.items()}
        try:
            given = {name: value for name, value in sent.items() if value is not None}
            validated: dict[str, Any] = vars(self._parameters.model_validate(given))
            return validated
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


class FastRouteMiddleware:
    """Calls these routes; everything else is for the app, also another method at the same address."""

    def __init__(self, app: ASGIApp, routes: Sequence[FastRoute]) -> None:
        """Wrap an app."""
        self._app, self._routes = app, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                await route.handle(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _as_json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
