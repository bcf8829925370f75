"""Reject requests that a page of another origin sends to change or compute something (CSRF).

Browsers send simple POSTs across origins without asking the server; CORS only hides the response. Clients that are not
browsers send neither `Sec-Fetch-Site` nor `Origin` and are not affected.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.asgi import request_header
from app.errors import CrossOrigin
from app.hosts import split_port
from app.settings import Settings, variable_name

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})  # none: the user, for example by a bookmark
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[^/?#@]+)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class CrossOriginMiddleware:
    """Responds with 403 to unsafe methods from pages of other origins than those that APP_CORS_ORIGINS names."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Protect `app`."""
        self._app, self._allowed = app, frozenset(settings.cors_origins.split())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS and self._is_foreign(scope):
            await problems.respond(Request(scope), _cross_origin())(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_foreign(self, scope: Scope) -> bool:
        """Decide by Sec-Fetch-Site, which no proxy changes, or where browsers do not send it (plain HTTP) by Origin."""
        origin, site = request_header(scope, b"origin"), request_header(scope, b"sec-fetch-site")
        if origin in self._allowed or "*" in self._allowed:
            return False
        if site is not None:
            return site not in _OWN_SITES
        return origin is not None and not _is_same_host(origin, request_header(scope, b"host") or "")


def _is_same_host(origin: str, host: str) -> bool:
    """Compare host and port; `null`, the origin of sandboxed pages and local files, is never the same."""
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        return False
    default = _DEFAULT_PORTS[match["scheme"].lower()]
    (name, port), (own_name, own_port) = split_port(match["host"]), split_port(host)
    return (name, port or default) == (own_name, own_port or default)


def _cross_origin() -> CrossOrigin:
    return CrossOrigin(
        "A page of another origin sent this request. The operator of this server allows origins with "
        f"{variable_name('cors_origins')}; if it is the page of this server, its proxy must forward the Host header."
    )
