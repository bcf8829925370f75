"""The HTTP/1.1 protocol of a connection: uvicorn's, with the framing of requests decided here.

uvicorn with httptools alone turns the body of a request that offers an upgrade into further requests, parses any number
of pipelined requests at once, waits for a head without a timeout, lets it grow without a limit, accepts trailers
(headers behind a chunked body) as headers, and responds to malformed HTTP in plain text.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from typing import cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.server.connection import Connection
from app.server.error_response import error_response
from app.server.protocol_errors import ProtocolErrorLog
from app.server.request_head import (
    MAX_HEAD_BYTES,
    MalformedHead,
    check_host,
    check_transfer_encoding,
    origin_form,
    without_upgrade,
)

_SLICE_BYTES = 1024
"""Bytes that are parsed at a time where a request may end: at most 40 requests fit into them."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounded heads and pipelines, and with timeouts where no app enforces them.

    The timer runs while the client must send something that no app is reading: the head of a request, or the rest of a
    body after its response. While an app reads a body, `app.uploads.body` enforces the timeout.
    """

    read_timeout_s: float
    errors: ProtocolErrorLog
    transport: Connection

    _timer: asyncio.TimerHandle | None = None
    _steps = 0  # parsed heads and parts of bodies; bytes that arrive without a new step stay in the parser's memory
    _unparsed_bytes = 0
    _in_head = False
    _in_body = False
    _body_left: int | None = None  # bytes of the body still to come; None: chunked
    _ends = False  # no further request is read from this connection
    _held: memoryview | None = None  # input to parse after the response to an earlier request
    _open_responses = 0
    _running: RequestResponseCycle | None = None  # the request whose app runs; `cycle` is the newest one
    _upgrade: bytes | None = None  # head without its offer of another protocol, to be parsed instead
    _rejection: bytes | None = None  # the last response, sent after those to earlier requests
    _malformed = ""
    _malformed_status = http.HTTPStatus.BAD_REQUEST

    @property
    def awaits_request(self) -> bool:
        """True while the first request, or the rest of a later one, is still to come."""
        return self.transport.lingers or ((self.cycle is None or self._in_body) and not self._ends)

    # ---- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(Connection(transport, self._still_sends, self.read_timeout_s))
        self._start_timer(self._on_head_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._held = None
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:  # uvicorn tells the newest request only
            self._running.disconnected = True
            self._running.message_event.set()

    def check_progress(self, now: float) -> None:
        """Disconnect a client that does not read its responses, or left while reading is held; called once a second."""
        if self._held is not None and self.transport.client_has_left():
            self.transport.abort()
        else:
            self.transport.check_progress(now)

    def shutdown(self) -> None:
        if self.transport.lingers or (self._in_body and self.cycle.response_complete):
            self.transport.abort()
        else:
            super().shutdown()

    def _still_sends(self) -> bool:
        return self._in_body or self._held is not None or self._rejection is not None

    # ---- input

    def data_received(self, data: bytes) -> None:
        if self.transport.lingers:
            self.transport.discard(len(data))
            return
        if self._ends:
            return
        steps = self._steps
        self._parse_all(memoryview(data))
        if self._steps == steps and not self._ends and self._held is None:
            self._unparsed_bytes += len(data)
            if self._unparsed_bytes > MAX_HEAD_BYTES:
                self._reject(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _parse_all(self, data: memoryview) -> None:
        """Parse input in slices, and hold the rest while a request waits for the response to an earlier one."""
        self._unset_keepalive_if_required()
        while data and not self._ends and not self.transport.is_closing():
            if self.pipeline:
                self._held = data
                self.transport.hold_reading()
                return
            size = _SLICE_BYTES
            if self._in_body and self._body_left:
                size = self._body_left
            data = data[self._parse(data[:size]) :]
        if self._timer is None and (self._in_head or not (self._in_body or self._open_responses)):
            self._start_timer(self._on_head_timeout)

    def _parse(self, data: memoryview) -> int:
        """Parse a slice; return how much of it was parsed."""
        try:
            return self._feed(data)
        except httptools.HttpParserError:
            self._reject(self._malformed_status, self._malformed)
            return len(data)

    def _feed(self, data: memoryview) -> int:
        """Parse a slice up to the end of a head that offers an upgrade; raises HttpParserError.

        httptools would parse the body of such a request as the next request. So the head is parsed again without its
        offer, by a new parser.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            assert self._upgrade is not None, "set by `on_headers_complete`"
            head, self._upgrade = self._upgrade, None
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)
            return cast(int, offer.args[0])
        return len(data)

    def _parse_held(self) -> None:
        """Parse input that was held until a response was complete."""
        if self._held is not None and not self.pipeline:
            data, self._held = self._held, None
            self._parse_all(data)
            if self._held is None:
                self.transport.release_reading()

    # ---- callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._body_left = None
        self._in_head = True
        if self._timer is not None:  # of an idle connection
            self._start_timer(self._on_head_timeout)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:  # trailers may be discarded, and must not be merged into the headers (RFC 9110, 6.5.1)
            return
        name, value = name.lower(), value.strip(b" \t")
        if name == b"content-length":
            self._body_left = int(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self._malformed_status = http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise MalformedHead  # stops the parser
        try:
            check_host(self.headers, version)
            check_transfer_encoding(self.headers)
            self.url = origin_form(self.url, method, self.headers)
        except MalformedHead as error:
            self._malformed = str(error)
            raise
        if self.parser.should_upgrade():
            self._upgrade = without_upgrade(method, self.url, version, self.headers)
            return
        if version == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1
        super().on_headers_complete()
        self._stop_timer()
        self._in_head, self._in_body = False, True
        self._open_responses += 1
        self._count_step()

    def on_chunk_header(self) -> None:
        self._count_step()

    def on_body(self, body: bytes) -> None:
        self._count_step()
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrade is not None:
            return
        self._stop_timer()
        self._in_body = False
        self._count_step()
        super().on_message_complete()
        if not self.parser.should_keep_alive():  # by its head, or by a Connection header in the trailers
            self._ends = True
            self.cycle.keep_alive = False
        if self.cycle.response_complete:  # the response preceded the end of the body, so uvicorn's timer has ended
            if self._ends:
                self.transport.close()
            else:
                self._start_timer(self._on_head_timeout)

    # ---- responses

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._open_responses -= 1
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._in_body and self.cycle.response_complete:
            self._start_timer(self.transport.close)
        self._parse_held()
        self._send_rejection()

    def _reject(self, status: http.HTTPStatus, reason: str = "") -> None:
        """Respond to what cannot be parsed, after the responses to earlier requests, and close."""
        self.errors.log(status, reason)
        self._stop_timer()
        self._ends = True
        if self._in_body and self._abandon_request():
            self.transport.close()
            return
        self._rejection = error_response(status, reason)
        self._send_rejection()

    def _abandon_request(self) -> bool:
        """Take the request whose body is malformed from its app; return True if its response has begun."""
        if self.cycle.response_started:
            return True
        if self.pipeline:  # the newest is on the left
            self.pipeline.popleft()
        self._open_responses -= 1
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return False

    def _send_rejection(self) -> None:
        if self._rejection is not None and not self._open_responses:
            self.transport.write(self._rejection)
            self.transport.close()

    # ---- timers

    def _count_step(self) -> None:
        self._steps, self._unparsed_bytes = self._steps + 1, 0

    def _on_head_timeout(self) -> None:
        if self._open_responses:  # the server is late, not the client
            self._start_timer(self._on_head_timeout)
        elif self._in_head:
            self._reject(http.HTTPStatus.REQUEST_TIMEOUT)
        else:
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
    members = {"read_timeout_s": read_timeout_s, "errors": ProtocolErrorLog()}
    return cast(type[BoundedHttpProtocol], type(name, (BoundedHttpProtocol,), members))
