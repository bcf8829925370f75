"""One HTTP/1.1 connection from as little processor time as possible: httptools below asyncio, as in the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from benchmarks.load.request import Request


@dataclass
class Answer:
    """A whole response; names of headers in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Connection(asyncio.Protocol):
    """Asks one thing at a time."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._answer, self._waiting, self._lost = Answer(), loop.create_future(), loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)

    @property
    def is_open(self) -> bool:
        """Whether it can be asked again."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, message: bytes) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            ConnectionError: the server closed the connection without one.
        """
        assert self._transport is not None
        self._answer, self._waiting = Answer(), asyncio.get_running_loop().create_future()
        self._transport.write(message)
        answer: Answer = await self._waiting
        return answer

    async def hang_up(self) -> None:
        """Close it at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()
            await self._lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost.set_result(None)
        if not self._waiting.done():
            self._waiting.set_exception(ConnectionError(str(error or "closed by the server")))
            self._waiting.exception()  # nobody may be waiting any more

    def on_header(self, name: bytes, value: bytes) -> None:
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._answer.body += body

    def on_message_complete(self) -> None:
        self._answer.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        if not self._waiting.done():
            self._waiting.set_result(self._answer)


async def connect(url: str) -> Connection:
    """Open a connection; raises OSError."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


def message(url: str, request: Request) -> bytes:
    """A request as it goes over the wire."""
    headers = {
        "Host": urlsplit(url).netloc,
        "Content-Length": str(len(request.body)),
        **request.all_headers,
    }
    lines = [f"POST {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + request.body
