"""Create the context of every request, and add its ID and the security headers to the response."""

from __future__ import annotations

import re
import secrets

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.asgi import path_without_prefix, request_header
from app.request_context import RequestContext, attach_context
from app.state import AppState

_PROBES = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"})

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make the page's own form send `Origin: null`
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SECURITY_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_CLOSE = (b"connection", b"close")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_REQUEST_ID = 128  # characters


class RequestContextMiddleware:
    """Outermost middleware: owns the request context, its memory lease and the count of requests in flight."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        """Create contexts for `app`."""
        self._app, self._lifecycle, self._budget = app, state.lifecycle, state.budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = self._create(scope)
        headers = (*_SECURITY_HEADERS, (b"x-request-id", context.request_id.encode()))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
                if self._lifecycle.is_draining and _CLOSE not in message["headers"]:
                    message["headers"].append(_CLOSE)  # the client's next request reaches another server
            await send(message)

        bound = structlog.contextvars.bind_contextvars(request_id=context.request_id, **_trace_fields(scope))
        self._lifecycle.requests_in_flight += not context.is_probe
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._lifecycle.requests_in_flight -= not context.is_probe
            context.lease.release()
            structlog.contextvars.reset_contextvars(**bound)

    def _create(self, scope: Scope) -> RequestContext:
        path = path_without_prefix(scope)
        context = RequestContext(_request_id(scope), path, path in _PROBES, self._budget.lease())
        attach_context(scope, context)
        return context


def _request_id(scope: Scope) -> str:
    """Return the client's own request ID if it is safe to repeat, else a new one."""
    client_id = request_header(scope, b"x-request-id")
    if client_id and len(client_id) <= _MAX_REQUEST_ID and client_id.isascii() and client_id.isprintable():
        return client_id
    return secrets.token_hex(16)


def _trace_fields(scope: Scope) -> dict[str, str]:
    """Return the W3C trace context as a log field, if the client sent a valid one."""
    traceparent = request_header(scope, b"traceparent")
    return {"traceparent": traceparent} if traceparent and _TRACEPARENT.fullmatch(traceparent) else {}
