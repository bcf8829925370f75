"""Routes that reject query parameters which they do not have; fast routes do the same."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.parameter_names import parse_query


class CheckedRoute(APIRoute):
    """A route of FastAPI that raises BadParameter for an unknown or repeated query parameter."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()
        known = [field.alias for field in self.dependant.query_params]

        async def check_and_handle(request: Request) -> Response:
            parse_query(request.scope["query_string"], known)
            return await handle(request)

        return check_and_handle
