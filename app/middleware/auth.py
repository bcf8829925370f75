"""Before every address: which are open, whose key it is, and whether there is anything left for it.

What is not listed here as open needs a key where there are keys, so that a new address is closed until somebody says
otherwise.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.auth.access import AccessControl, Caller
from app.auth.keys import Role
from app.errors import ServiceError, Unauthorized
from app.settings import Settings
from app.state import AppState, request_header

_OPEN = frozenset(
    {"/", "/docs", "/favicon.ico", "/openapi.json", "/livez", "/readyz", "/healthz"}
    | {"/v2/health/live", "/v2/health/ready"}
)
"""The page (whose form brings its key in a field, which its route looks at), the document, and probes."""
_OPEN_FILES = "/static/"


def is_open(path: str, settings: Settings) -> bool:
    """Whether a path of the server's own answers without a key."""
    return path in _OPEN or path.startswith(_OPEN_FILES) or (path == "/metrics" and settings.metrics_public)


class AuthMiddleware:
    """Lets in whom it may, and says in every answer what is left of the limits."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        """Wrap an app."""
        self._app, self._access, self._settings = app, state.access, state.settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or answer it."""
        if scope["type"] != "http" or is_open(scope["state"]["own_path"], self._settings):
            await self._app(scope, receive, send)
            return
        refusal = None
        try:
            caller = authenticate(scope, self._access)
        except Unauthorized as error:  # counts for the address, so that nobody tries keys as fast as they like
            caller, refusal = anonymous_caller(scope, self._access), error
        try:
            async with self._access.acquire(caller) as left:
                answer = problems.respond(Request(scope), refusal) if refusal else self._app
                await answer(scope, receive, self._with(left, send))
        except ServiceError as error:  # its own: those of the app have become answers
            await problems.respond(Request(scope), error)(scope, receive, send)

    def _with(self, left: dict[str, str], send: Send) -> Send:
        extra = {**left, **({"Cache-Control": "no-store"} if self._access.needs_key else {})}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(extra)
            await send(message)

        return send_with_headers if extra else send


class Cors(CORSMiddleware):
    """Pages of other origins may read answers only where the settings name them."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Wrap an app."""
        super().__init__(
            app,
            allow_origins=settings.cors_origins.split(),
            allow_methods=["GET", "POST", "PUT"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", "X-Request-ID", "X-Request-Timeout-Ms"],
            expose_headers=["RateLimit", "RateLimit-Policy", "Retry-After", "Server-Timing", "X-Request-ID"],
        )


def authenticate(scope: Scope, access: AccessControl, key_field: str | None = None) -> Caller:
    """Who asks, by the key in a header, or in a field of the page's form; raises Unauthorized."""
    caller = access.authenticate(_presented(scope) or key_field, _address(scope))
    scope["state"]["caller"] = caller
    return caller


def anonymous_caller(scope: Scope, access: AccessControl) -> Caller:
    """Who asks, by the address alone."""
    return access.anonymous_caller(_address(scope))


def _presented(scope: Scope) -> str | None:
    """The key in `Authorization: Bearer` or `X-API-Key`, if there is one."""
    kind, _, credentials = (request_header(scope, b"authorization") or "").partition(" ")
    return credentials.strip() if kind.lower() == "bearer" else request_header(scope, b"x-api-key")


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


async def _admin(request: Request) -> Caller:
    caller: Caller = request.state.caller
    caller.require(Role.ADMIN)
    return caller


AdminDep = Annotated[Caller, Depends(_admin)]
