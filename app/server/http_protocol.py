"""A connection, bounded before there is a request: how large a head may be, and how long a client may take.

uvicorn alone waits for ever for a head, lets it grow without end, takes trailers (headers behind a chunked body) for
headers, and answers what is no HTTP in plain text.
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
from app.middleware.access_log import SECURITY_HEADERS

MAX_HEAD_BYTES = 16 * 1024
"""As Node has it: request line and headers together; and whatever comes in a body that is none of it."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's connection with a bound on heads, and with time limits where no app is there to have them.

    The time runs while the client owes something that nobody else waits for: the head of a request, or the rest of
    a body after the answer to it. While an app reads a body, `app.uploads.body` has the time.
    """

    read_timeout_s: float

    _timer: asyncio.TimerHandle | None = None
    _steps = 0  # heads and pieces of bodies that were read; what arrives without one more of them is kept by the parser
    _head_bytes = 0
    _in_body = False
    _refusal = http.HTTPStatus.BAD_REQUEST

    @property
    def owes_request(self) -> bool:
        """Whether the first request, or the rest of one, is still to come."""
        return self.cycle is None or self._in_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self._late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        steps = self._steps
        if not self._in_body and self._timer is None:
            self._wait(self._late_head)
        super().data_received(data)
        if self._steps == steps and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # a trailer may be discarded, and must not pass for a header (RFC 9110, 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            self._refusal = http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError("the head is too large")  # the parser stops, and send_400_response says why
        self._stop_waiting()
        self._in_body = True
        self._step()
        super().on_headers_complete()

    def on_chunk_header(self) -> None:
        self._step()

    def on_body(self, body: bytes) -> None:
        self._step()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_waiting()
        self._in_body = False
        self._step()
        super().on_message_complete()
        if self.cycle.response_complete:  # before its body was there: uvicorn's own timer has ended
            self._wait(self._late_head)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._wait(self.transport.close)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        self._refuse(self._refusal)

    def _step(self) -> None:
        self._steps, self._head_bytes = self._steps + 1, 0

    def _late_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # of the request before, on the same connection
            self._wait(self._late_head)
        elif self._head_bytes:
            self._refuse(http.HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _refuse(self, status: http.HTTPStatus) -> None:
        self._stop_waiting()
        if not (self._in_body and self.cycle.response_started):  # one answer is all that a request gets
            self.transport.write(_answer(status))
        self.transport.close()

    def _wait(self, then: Callable[[], None]) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self.read_timeout_s, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def protocol_class(read_timeout_s: float) -> type[BoundedHttpProtocol]:
    """The class of connections that give their clients so many seconds."""
    return cast(type[BoundedHttpProtocol], type("Bounded", (BoundedHttpProtocol,), {"read_timeout_s": read_timeout_s}))


_DETAILS = {
    http.HTTPStatus.BAD_REQUEST: ("bad_request", "This is no HTTP request that can be read."),
    http.HTTPStatus.REQUEST_TIMEOUT: ("slow_head", "The head of the request did not arrive in time."),
    http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "head_too_large",
        f"Request line and headers, or trailers, have more than {MAX_HEAD_BYTES:,} bytes.",
    ),
}


def _answer(status: http.HTTPStatus) -> bytes:
    code, detail = _DETAILS[status]
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
