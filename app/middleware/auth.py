"""Authentication and rate limiting for non-public routes.

A route that is not listed as public needs a key where keys are configured, so a new route is protected by default.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.asgi import client_address, request_header
from app.auth.access import AccessControl, Caller
from app.auth.keys import Role
from app.errors import ServiceError, Unauthorized
from app.request_context import get_context, scope_context
from app.settings import Settings
from app.state import AppState

_PUBLIC = frozenset(
    {"/", "/docs", "/favicon.ico", "/openapi.json", "/livez", "/readyz", "/healthz"}
    | {"/v2/health/live", "/v2/health/ready"}
)
"""The page (whose form sends the key in a field that its route checks), the documentation and the probes."""
_PUBLIC_FILES = "/static/"


def is_public(path: str, settings: Settings) -> bool:
    """Return True if a path, without the proxy's prefix, needs no key."""
    return path in _PUBLIC or path.startswith(_PUBLIC_FILES) or (path == "/metrics" and settings.metrics_public)


class AuthMiddleware:
    """Rejects requests without a valid key or beyond a limit, and adds the RateLimit headers to responses."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        """Protect `app`."""
        self._app, self._access, self._settings = app, state.access, state.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or is_public(scope_context(scope).path, self._settings):
            await self._app(scope, receive, send)
            return
        rejection = None
        try:
            caller = authenticate(scope, self._access)
        except Unauthorized as error:  # counts against the address, so that keys cannot be guessed at full speed
            caller, rejection = anonymous_caller(scope, self._access), error
        try:
            async with self._access.acquire(caller) as rate_limit_headers:
                response = problems.respond(Request(scope), rejection) if rejection else self._app
                await response(scope, receive, self._with_headers(rate_limit_headers, send))
        except ServiceError as error:  # of `acquire`; errors of the app are responses already
            await problems.respond(Request(scope), error)(scope, receive, send)

    def _with_headers(self, rate_limit_headers: dict[str, str], send: Send) -> Send:
        headers = {**rate_limit_headers, **({"Cache-Control": "no-store"} if self._access.needs_key else {})}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        return send_with_headers if headers else send


def authenticate(scope: Scope, access: AccessControl, key_field: str | None = None) -> Caller:
    """Identify the caller by the key in a header or in a form field, and note it in the context.

    Raises:
        Unauthorized: keys are configured, and the key is missing or unknown.
    """
    caller = access.authenticate(_key_header(scope) or key_field, client_address(scope))
    scope_context(scope).caller = caller
    return caller


def anonymous_caller(scope: Scope, access: AccessControl) -> Caller:
    """Identify the caller by its address."""
    return access.anonymous_caller(client_address(scope))


def has_key_header(scope: Scope) -> bool:
    """Return True if a header has a key, valid or not."""
    return bool(_key_header(scope))


def _key_header(scope: Scope) -> str | None:
    """Return the key in `Authorization: Bearer` or `X-API-Key`, or None."""
    scheme, _, credentials = (request_header(scope, b"authorization") or "").partition(" ")
    return credentials.strip(" \t") if scheme.lower() == "bearer" else request_header(scope, b"x-api-key")


async def _require_admin(request: Request) -> Caller:
    caller = get_context(request).caller
    assert caller is not None  # the route is not public, so AuthMiddleware has set it
    caller.require(Role.ADMIN)
    return caller


AdminDep = Annotated[Caller, Depends(_require_admin)]
