"""Routes whose parameters are validated in one go, and whose answers are not validated again.

FastAPI asks of each parameter, for every request, what kind of type it has, prepares for dependencies and validates
what a function has made of validated parts: together nearly half of what a small picture costs the event loop. It still
makes the document, of the same functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError, create_model
from starlette.types import Receive, Scope, Send


class Direct(APIRoute):
    """A route for `async def (request, parameters…)`, each of them of the path, the query or a header."""

    endpoint: Callable[..., Awaitable[BaseModel | Response]]

    def __init__(self, path: str, endpoint: Callable[..., Any], **documented: Any) -> None:
        """Take what FastAPI takes."""
        super().__init__(path, endpoint, **documented)
        known = self.dependant
        self._queries = [field.alias for field in known.query_params]
        self._headers = [field.alias for field in known.header_params]
        described = (*known.path_params, *known.query_params, *known.header_params)
        fields: dict[str, Any] = {each.name: (each.field_info.annotation, each.field_info) for each in described}
        self._parameters = create_model(self.name, **fields)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        answer = await self.endpoint(request, **self._validated(request))
        response = answer if isinstance(answer, Response) else _as_json(answer)
        await response(scope, receive, send)

    def _validated(self, request: Request) -> dict[str, Any]:
        sent = dict(request.path_params)
        if request.scope["query_string"]:
            sent |= _among(request.query_params, self._queries)
        sent |= _among(request.headers, self._headers)
        try:
            validated: dict[str, Any] = vars(self._parameters.model_validate(sent))
            return validated
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


def _among(values: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: value for name in names if (value := values.get(name)) is not None}


def _as_json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
