"""An app that echoes what it read, behind the server's HTTP protocol and behind h11, and raw exchanges with it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.api.problems import MEDIA_TYPE
from tests.support.polling import eventually
from tests.support.raw_http import response_from

Address = tuple[str, int]

_BODY_TIMEOUT_S = 2.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Response:
    """A response; `method`, `path` and `body` are what the echo app read, empty if it was not called."""

    status: int
    marker: str
    method: str
    path: str
    body: str
    closes: bool
    is_problem: bool


@dataclass(frozen=True)
class Outcome:
    """All responses on a connection, and how it ended: "closed", "reset" or "open"."""

    responses: list[Response]
    end: str


def digest(body: bytes) -> str:
    """Return the digest of a body that the echo app reports."""
    return f"{len(body)}-{hashlib.sha256(body).hexdigest()[:16]}"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Report method, path and digest of the body in headers; with the query `early`, respond before reading the body.

    Like the service, it rejects a body that does not arrive in time.
    """
    assert scope["type"] == "http"
    body, is_early, is_more = b"", scope["query_string"] == b"early", True
    while is_more and not is_early:
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                message = await receive()
        except TimeoutError:
            headers = [(b"content-length", b"0"), (b"connection", b"close"), (b"content-type", MEDIA_TYPE.encode())]
            await send({"type": "http.response.start", "status": 408, "headers": headers})
            await send({"type": "http.response.body"})
            return
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    markers = [value for name, value in scope["headers"] if name == b"x-request-id"]
    headers = [
        (b"content-length", b"4"),
        (b"x-request-id", b",".join(markers)),
        (b"x-method", scope["method"].encode()),
        (b"x-path", quote(scope["path"], safe="/:@[]%*").encode()),
        (b"x-body", b"early" if is_early else digest(body).encode()),
    ]
    await send({"type": "http.response.start", "status": 413 if is_early else 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"echo"})


@asynccontextmanager
async def echo_server(http_protocol: Any) -> AsyncIterator[Address]:
    """Serve the echo app with a protocol class of uvicorn, or the name of one, in this event loop."""
    config = uvicorn.Config(echo, http=http_protocol, ws="none", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    factory = cast(Any, config.http_protocol_class)
    server = await asyncio.get_running_loop().create_server(
        lambda: factory(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await eventually(lambda: not state.tasks and not state.connections)


async def exchange(address: Address, pieces: Sequence[bytes], patience_s: float) -> Outcome:
    """Send pieces one by one, and read until the server closes the connection or is silent for `patience_s`.

    Args:
        address: of the server.
        pieces: the bytes to send; the server's event loop runs between them.
        patience_s: seconds after the last piece or the last byte received.
    """
    loop = asyncio.get_running_loop()
    received, end = bytearray(), ""
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def send() -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # the reader sees it too, and what came before it
                for piece in pieces:
                    await loop.sock_sendall(connection, piece)
                    await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        while not end:
            try:
                async with asyncio.timeout(patience_s):
                    data = await loop.sock_recv(connection, 65536)
                received += data
                end = "" if data else "closed"
            except TimeoutError:
                end = "open" if sending.done() else ""
            except ConnectionResetError:
                end = "reset"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return Outcome(list(_parse(bytes(received))), end)


def _parse(data: bytes) -> list[Response]:
    """Parse consecutive responses; raises http.client.HTTPException if they are malformed or incomplete."""
    stream, responses = io.BytesIO(data), list[Response]()
    while stream.tell() < len(data):
        if data.startswith(_CONTINUE, stream.tell()):
            stream.seek(len(_CONTINUE), io.SEEK_CUR)
            continue
        response = response_from(stream)
        response.begin()
        if response.headers.get("x-method") != "HEAD":
            response.read()
        headers = response.headers
        responses.append(
            Response(
                response.status,
                headers.get("x-request-id", ""),
                headers.get("x-method", ""),
                headers.get("x-path", ""),
                headers.get("x-body", ""),
                headers.get("connection", "").lower() == "close",
                headers.get("content-type", "") == MEDIA_TYPE,
            )
        )
    return responses
