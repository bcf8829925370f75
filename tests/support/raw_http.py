"""Raw HTTP requests that client libraries cannot send, and the latency of /livez meanwhile."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from tests.support.processes import Answer, get

_TIMEOUT_S = 60


def exchange(address: str, request: bytes | Iterable[bytes], timeout_s: float = _TIMEOUT_S) -> Answer:
    """Send bytes on a new connection until the server stops reading, and read the response."""
    with connected(address, timeout_s) as connection:
        try:
            for piece in [request] if isinstance(request, bytes) else request:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has responded and closed its side
        return read_answer(connection)


@contextmanager
def connected(address: str, timeout_s: float = _TIMEOUT_S) -> Iterator[socket.socket]:
    """Connect to the server at `http://host:port`."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout_s) as connection:
        yield connection


def read_answer(connection: socket.socket) -> Answer:
    """Read a whole response; raises ConnectionError if the server closes the connection without one."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, response.headers, response.read())


def read_answers(connection: socket.socket, count: int | None = None) -> list[Answer]:
    """Read the responses to pipelined requests: `count` of them, or all until the server closes the connection."""
    answers = list[Answer]()
    with connection.makefile("rb") as stream:
        while len(answers) != count and (count or stream.peek(1)):
            response = response_from(stream)
            response.begin()
            answers.append(Answer(response.status, response.headers, response.read()))
    return answers


def response_from(stream: io.BufferedIOBase) -> http.client.HTTPResponse:
    """Return a response to be read from a stream that http.client leaves open, because more responses follow."""
    return http.client.HTTPResponse(cast(socket.socket, _Source(stream)))


class _Source:
    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> object:
        return _Unclosed(self._stream)


class _Unclosed:
    closed = False

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self.read, self.readline, self.readinto, self.flush = (
            stream.read,
            stream.readline,
            stream.readinto,
            stream.flush,
        )

    def close(self) -> None:
        pass


def head(path: str = "/v1/classify", method: str = "POST", **headers: object) -> bytes:
    """Encode a request line and headers; the keyword `Content_Type` becomes Content-Type."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, content_type: str, path: str = "/v1/classify") -> bytes:
    """Encode a whole request."""
    return head(path, Content_Type=content_type, Content_Length=len(body)) + body


@dataclass
class Pulse:
    """The durations of consecutive requests to /livez from a background thread."""

    seconds: list[float] = field(default_factory=list)

    @property
    def stalls(self) -> float:
        """Return the longest duration that three consecutive requests all took, in seconds.

        A busy machine may delay single requests; a blocked event loop delays all.
        """
        return max(map(min, zip(self.seconds, self.seconds[1:], self.seconds[2:], strict=False)), default=0.0)


@contextmanager
def pulse(address: str) -> Iterator[Pulse]:
    """Request /livez repeatedly until the block ends."""
    measured, has_ended = Pulse(), threading.Event()

    def request_repeatedly() -> None:
        while not has_ended.is_set():
            started = time.monotonic()
            assert get(address, "/livez").status == 200
            measured.seconds.append(time.monotonic() - started)

    thread = threading.Thread(target=request_repeatedly, daemon=True)
    thread.start()
    try:
        yield measured
    finally:
        has_ended.set()
        thread.join(_TIMEOUT_S)


def cpu_s(address: str) -> float:
    """Return the processor time of the server so far in seconds, which depends little on the load of the machine."""
    return _metric(address, "process_cpu_seconds")


def cpu_used_s(address: str, seconds: float) -> float:
    """Return the processor time in seconds that the server uses within some seconds."""
    before = cpu_s(address)
    time.sleep(seconds)
    return cpu_s(address) - before


def requests_in_flight(address: str) -> int:
    """Return the number of requests that the server works on."""
    return int(_metric(address, "classifier_requests_in_flight"))


def _metric(address: str, name: str) -> float:
    lines = get(address, "/metrics").body.decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[1])
