"""Around every request, as pure ASGI: its id, its headers, the access log and the metrics."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.errors import Draining
from app.state import AppState, request_header

_PROBES = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/v2/health/live", "/v2/health/ready"})

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
_CLOSE = (b"connection", b"close")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST_ID = 128
_CUT_SHORT = "The server stopped before it could answer. Send the request again; another one may take it."

access = structlog.get_logger("access")


class RequestContextMiddleware:
    """Notes what a request is and when it began, and gives every response its id and the security headers."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        """Wrap an app."""
        self._app, self._lifecycle = app, state.lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, path = _request_id(request_header(scope, b"x-request-id")), _own_path(scope)
        scope.setdefault("state", {}).update(
            request_id=request_id, began=time.monotonic(), own_path=path, is_probe=path in _PROBES
        )
        added = (*_SECURITY, (b"x-request-id", request_id.encode()))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
                if self._lifecycle.draining and _CLOSE not in message["headers"]:
                    message["headers"].append(_CLOSE)  # the client's next request finds another server
            await send(message)

        trace = _trace(request_header(scope, b"traceparent"))
        bound = structlog.contextvars.bind_contextvars(request_id=request_id, **trace)
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            structlog.contextvars.reset_contextvars(**bound)


class AccessLogMiddleware:
    """Logs and counts each request, and answers for an app that raised or was cut short."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        """Wrap an app."""
        self._app, self._lifecycle, self._metrics = app, state.lifecycle, state.metrics
        self._bodies = state.bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        is_probe = scope["state"]["is_probe"]
        share = scope["state"]["share"] = self._bodies.lease()
        if not is_probe:
            self._lifecycle.in_flight += 1
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except (Exception, asyncio.CancelledError) as error:
            if exchange.status:  # too late for another answer: the server closes the connection
                raise
            told = Draining(_CUT_SHORT) if isinstance(error, asyncio.CancelledError) else error
            await problems.respond(Request(scope), told)(scope, exchange.receive, exchange.send)
        finally:
            share.release()
            if not is_probe:
                self._lifecycle.in_flight -= 1
            self._record(scope, exchange, is_probe)

    def _record(self, scope: Scope, exchange: _Exchange, is_probe: bool) -> None:
        seconds = time.monotonic() - scope["state"]["began"]
        method = scope["method"] if scope["method"] in problems.METHODS else "other"
        caller = scope["state"].get("caller")
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.count_request(method, route, exchange.status, seconds)
        (access.debug if is_probe else access.info)(
            "request",
            method=method,
            path=quote(scope["state"]["own_path"]),  # no control character reaches a terminal
            status=exchange.status,
            duration_ms=round(seconds * 1000, 1),
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            **({"key": caller.key} if caller and caller.key else {}),
        )


@dataclass
class _Exchange:
    """Counts what passes between the server and the app."""

    server_receive: Receive
    server_send: Send
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    async def receive(self) -> Message:
        message = await self.server_receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.bytes_out += len(message.get("body", b""))
        await self.server_send(message)


def _request_id(sent: str | None) -> str:
    """The client's own id, where it can safely be repeated, or a new one."""
    if sent and len(sent) <= _LONGEST_ID and sent.isascii() and sent.isprintable():
        return sent
    return secrets.token_hex(16)


def _trace(traceparent: str | None) -> dict[str, str]:
    return {"traceparent": traceparent} if traceparent and _TRACEPARENT.fullmatch(traceparent) else {}


def _own_path(scope: Scope) -> str:
    """The path of a request without the prefix that a proxy put before it.

    A mount adds its own path to `root_path`, for everybody who looks later, and keeps the proxy's as `app_root_path`.
    """
    path: str = scope["path"]
    return path.removeprefix(scope.get("app_root_path", scope.get("root_path", "")))
