"""A minimal HTTP/1.1 client on asyncio and httptools, to leave the processor to the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from benchmarks.load.request import Request


@dataclass
class Response:
    """A complete response; header names in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Connection(asyncio.Protocol):
    """A keep-alive connection with at most one request in flight."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._response, self._completed, self._closed = Response(), loop.create_future(), loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def is_open(self) -> bool:
        """True if the connection can take another request."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, message: bytes) -> Response:
        """Send an encoded request and wait for its response.

        Raises:
            ConnectionError: the server closed the connection without a response.
        """
        assert self._transport is not None
        self._response, self._completed = Response(), asyncio.get_running_loop().create_future()
        self._transport.write(message)
        response: Response = await self._completed
        return response

    async def abort(self) -> None:
        """Close the connection at once, even with a request in flight."""
        if self._transport is not None:
            self._transport.abort()
            await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed.set_result(None)
        if not self._completed.done():
            self._completed.set_exception(ConnectionError(str(error or "closed by the server")))
            self._completed.exception()  # mark it as retrieved: after a cancellation, no task awaits it

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._response.body += body

    def on_message_complete(self) -> None:
        self._response.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        if not self._completed.done():
            self._completed.set_result(self._response)


async def connect(url: str) -> Connection:
    """Open a connection.

    Raises:
        OSError: the server cannot be reached.
    """
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


def encode_request(url: str, request: Request) -> bytes:
    """Encode a request as HTTP/1.1 bytes."""
    headers = {
        "Host": urlsplit(url).netloc,
        "Content-Length": str(len(request.body)),
        **request.all_headers,
    }
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + request.body
