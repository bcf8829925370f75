"""Requests that no client library would send, byte for byte, and whether the server still answers meanwhile."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.processes import Answer, get

_TIMEOUT_S = 60


def exchange(address: str, request: bytes | Iterable[bytes], timeout_s: float = _TIMEOUT_S) -> Answer:
    """Send bytes on a connection of their own, as far as the server takes them, and read the answer."""
    with connected(address, timeout_s) as connection:
        try:
            for piece in [request] if isinstance(request, bytes) else request:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered, and takes no more
        return read_answer(connection)


@contextmanager
def connected(address: str, timeout_s: float = _TIMEOUT_S) -> Iterator[socket.socket]:
    """A connection to the server at `http://host:port`."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout_s) as connection:
        yield connection


def read_answer(connection: socket.socket) -> Answer:
    """One whole response; raises ConnectionError where none comes."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, response.headers, response.read())


def head(path: str = "/v1/classify", method: str = "POST", **headers: object) -> bytes:
    """Request line and headers; `Content_Type` stands for Content-Type."""
    lines = [f"{method} {path} HTTP/1.1", "Host: server"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, content_type: str, path: str = "/v1/classify") -> bytes:
    """A whole request."""
    return head(path, Content_Type=content_type, Content_Length=len(body)) + body


@dataclass
class Pulse:
    """How long /livez took, asked again and again by a thread of its own."""

    seconds: list[float] = field(default_factory=list)

    @property
    def stalls(self) -> float:
        """The shortest of the longest three in a row: a busy machine may delay one, a blocked loop delays all."""
        return max(map(min, zip(self.seconds, self.seconds[1:], self.seconds[2:], strict=False)), default=0.0)


@contextmanager
def pulse(address: str) -> Iterator[Pulse]:
    """Ask /livez until the block ends."""
    taken, over = Pulse(), threading.Event()

    def ask() -> None:
        while not over.is_set():
            began = time.monotonic()
            assert get(address, "/livez").status == 200
            taken.seconds.append(time.monotonic() - began)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join(_TIMEOUT_S)


def cpu_s(address: str) -> float:
    """Processor time of the server until now, which no other process of this machine can stretch much."""
    (line,) = (line for line in get(address, "/metrics").body.splitlines() if line.startswith(b"process_cpu_seconds"))
    return float(line.split()[1])
