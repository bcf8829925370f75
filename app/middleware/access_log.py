"""Log and count every request; send an error response if the app raised an exception or was cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.errors import Draining
from app.request_context import scope_context
from app.state import AppState

_CANCELLED = "The server stopped before the response was ready. Send the request again; another server may accept it."

access_log = structlog.get_logger("access")


class AccessLogMiddleware:
    """Writes one log line and one metric sample for each request."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        """Log the requests to `app`."""
        self._app, self._metrics = app, state.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except (Exception, asyncio.CancelledError) as error:
            if exchange.status:  # the response has begun, so the server can only close the connection
                raise
            reported = Draining(_CANCELLED) if isinstance(error, asyncio.CancelledError) else error
            await problems.respond(Request(scope), reported)(scope, exchange.receive, exchange.send)
        finally:
            self._record(scope, exchange)

    def _record(self, scope: Scope, exchange: _Exchange) -> None:
        context = scope_context(scope)
        seconds = context.elapsed_s()
        method = scope["method"] if scope["method"] in problems.METHODS else "other"
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.count_request(method, route, exchange.status, seconds)
        key_name = context.caller.key_name if context.caller else None
        (access_log.debug if context.is_probe else access_log.info)(
            "request",
            method=method,
            path=quote(context.path),  # no control character reaches a terminal
            status=exchange.status,
            duration_ms=round(seconds * 1000, 1),
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            **({"key": key_name} if key_name else {}),
        )


@dataclass
class _Exchange:
    """Counts the bytes between the server and the app, and notes the status."""

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
