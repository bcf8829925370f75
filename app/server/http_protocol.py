"""Bound each connection before a request exists: the size of a request head, and the time a client may take.

uvicorn alone waits for a head without a timeout, lets it grow without a limit, accepts trailers (headers behind a
chunked body) as headers, and responds to malformed HTTP in plain text.
"""

from __future__ import annotations

import asyncio
import http
import secrets
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.problems import MEDIA_TYPE
from app.api.schemas import Problem
from app.middleware.request_context import SECURITY_HEADERS

MAX_HEAD_BYTES = 16 * 1024
"""Limit of request line and headers together, as in Node; and of chunk headers and trailers within a body."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bounded head, and with timeouts where no app enforces them.

    The timer runs while the client must send something that no app is reading: the head of a request, or the rest of a
    body after its response. While an app reads a body, `app.uploads.body` enforces the timeout.
    """

    read_timeout_s: float

    _timer: asyncio.TimerHandle | None = None
    _steps = 0  # parsed heads and parts of bodies; bytes that arrive without a new step stay in the parser's memory
    _unparsed_bytes = 0
    _in_body = False
    _parse_error = http.HTTPStatus.BAD_REQUEST

    @property
    def awaits_request(self) -> bool:
        """True while the first request, or the rest of a later one, is still to come."""
        return self.cycle is None or self._in_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(self._on_head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        steps = self._steps
        if not self._in_body and self._timer is None:
            self._start_timer(self._on_head_timeout)
        super().data_received(data)
        if self._steps == steps and not self.transport.is_closing():
            self._unparsed_bytes += len(data)
            if self._unparsed_bytes > MAX_HEAD_BYTES:
                self._reject(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers may be discarded, and must not be merged into the headers (RFC 9110, 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._parse_error = http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError("the request head is too large")  # stops the parser, which calls send_400_response
        self._stop_timer()
        self._in_body = True
        self._count_step()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._count_step()

    def on_body(self, body: bytes) -> None:
        self._count_step()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_timer()
        self._in_body = False
        self._count_step()
        super().on_message_complete()
        if self.cycle.response_complete:  # the response preceded the end of the body, so uvicorn's timer has ended
            self._start_timer(self._on_head_timeout)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._start_timer(self.transport.close)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        self._reject(self._parse_error)

    def _count_step(self) -> None:
        self._steps, self._unparsed_bytes = self._steps + 1, 0

    def _on_head_timeout(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # of the previous request
            self._start_timer(self._on_head_timeout)
        elif self._unparsed_bytes:
            self._reject(http.HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _reject(self, status: http.HTTPStatus) -> None:
        self._stop_timer()
        if not (self._in_body and self.cycle.response_started):  # a request gets one response only
            self.transport.write(_error_response(status))
        self.transport.close()

    def _start_timer(self, callback: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.read_timeout_s, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol_class(read_timeout_s: float) -> type[BoundedHttpProtocol]:
    """Return the protocol class with a read timeout in seconds; uvicorn instantiates it for each connection."""
    name = BoundedHttpProtocol.__name__
    return cast(type[BoundedHttpProtocol], type(name, (BoundedHttpProtocol,), {"read_timeout_s": read_timeout_s}))


DETAILS = {
    http.HTTPStatus.BAD_REQUEST: ("bad_request", "Malformed HTTP request."),
    http.HTTPStatus.REQUEST_TIMEOUT: ("slow_head", "Timeout while waiting for the request head."),
    http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "head_too_large",
        f"Request line and headers, or trailers, exceed the limit of {MAX_HEAD_BYTES:,} bytes.",
    ),
}


def _error_response(status: http.HTTPStatus) -> bytes:
    """Return a whole HTTP response with a problem+json body."""
    code, detail = DETAILS[status]
    request_id = secrets.token_hex(16)
    problem = Problem(title=status.phrase, status=status, detail=detail, instance="/", code=code, request_id=request_id)
    body = problem.model_dump_json().encode()
    headers = {
        **SECURITY_HEADERS,
        "X-Request-ID": request_id,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": len(body),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
