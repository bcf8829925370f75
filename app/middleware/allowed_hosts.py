"""Reject requests for a host that is not this server's.

This ends DNS rebinding: a page whose own name was made to resolve to this server is of the same origin for the browser,
but its requests still name that host. Starlette's TrustedHostMiddleware responds in plain text, and redirects to a host
derived from the request.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.asgi import request_header
from app.errors import UnknownHost
from app.hosts import AllowedHosts, is_address, split_port
from app.request_context import RequestContext, scope_context
from app.settings import Settings, variable_name

_MAX_SHOWN = 100  # characters of a host in an error message


class AllowedHostsMiddleware:
    """Responds with 421 to requests for other hosts, except to health checks, whose Host is the address of a pod."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Protect `app`."""
        self._app, self._hosts = app, AllowedHosts(settings.host_patterns)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http":
            host = request_header(scope, b"host") or ""
            if not self._hosts.allows(host) and not _is_exempt(scope_context(scope), host):
                await problems.respond(Request(scope), _unknown_host(host))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_exempt(context: RequestContext, host: str) -> bool:
    """Return True for health checks of any host, and for metrics of an IP address, which cannot be rebound."""
    return context.is_probe and (context.path != "/metrics" or is_address(split_port(host)[0]))


def _unknown_host(host: str) -> UnknownHost:
    shown = host[:_MAX_SHOWN].encode("ascii", "backslashreplace").decode()
    return UnknownHost(
        f"This server does not respond for the host {shown!r}. Use its own name or address; its operator adds others "
        f"to {variable_name('allowed_hosts')}."
    )
