"""Requests sent before the responses to earlier ones (RFC 9112, 9.3.2): a few are read, then reading pauses."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from app.auth.keys import Role, add_key
from tests.support.batch_requests import zipped
from tests.support.encoded_images import encoded
from tests.support.machine import retry_while_machine_is_busy
from tests.support.polling import highest, wait_until
from tests.support.processes import TINY_SERVER, ServerProcess, get, server
from tests.support.raw_http import connected, head, post, pulse, read_answers
from tests.support.slow_clients import read_slowly

READ_TIMEOUT_S = 2
MEGABYTE = 1_000_000
REQUEST = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE_RESPONSES = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
"""Few of their responses fill the kernel's buffers of a connection, which hold 3 MB."""
SLOW_REQUESTS = 400
FLOOD_BYTES = 12 * MEGABYTE
MAX_MORE_BYTES = 60 * MEGABYTE
MAX_LIVEZ_S = 0.5  # 0.1 on a quiet machine


@pytest.fixture
def process(tiny_store: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """Run a server with keys, and limits on rate and concurrency; none of them is meant to bound a pipeline."""
    add_key(tmp_path / "keys", "laptop", Role.USER)
    limits = {"APP_API_KEYS_FILE": str(tmp_path / "keys"), "APP_RATE_LIMIT": "10/second", "APP_MAX_CONCURRENT": "2"}
    timeout = {"APP_READ_TIMEOUT_S": str(READ_TIMEOUT_S)}
    with server(TINY_SERVER, APP_STORE=str(tiny_store), **limits, **timeout) as started:
        started.address()
        yield started


def resident_bytes(process: ServerProcess) -> int:
    """Return the memory of the server process without its decode workers (proc(5))."""
    fields = Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in fields if line.startswith("VmRSS:"))
    return int(kilobytes) * 1024


def test_pipelined_requests_get_their_responses_in_order(tiny_address: str) -> None:
    count = 300
    paths = [f"/nowhere/{number}" for number in range(count)]
    with connected(tiny_address) as connection:
        connection.sendall(b"".join(head(path, "GET") for path in paths))
        assert [answer.json["instance"] for answer in read_answers(connection, count)] == paths


def test_pipelined_uploads_get_their_responses_in_order(tiny_address: str) -> None:
    colours = ["red", "green", "blue"] * 4
    requests = [post(encoded(colour, "PNG", (64, 48)) + bytes(100_000), "image/png") for colour in colours]
    with connected(tiny_address) as connection:
        connection.sendall(b"".join(requests))
        answers = read_answers(connection, len(colours))
    assert [answer.json["predictions"][0]["label"] for answer in answers] == colours


@pytest.mark.parametrize("more", [1, 100])
def test_running_request_is_cancelled_when_the_client_of_a_pipeline_leaves(tiny_store: Path, more: int) -> None:
    buffer = BytesIO()
    Image.new("RGB", (3000, 3000), "red").save(buffer, "PNG")  # a small file that takes long to decode
    photos = {f"{number}.png": buffer.getvalue() for number in range(60)}
    settings = {"APP_STORE": str(tiny_store), "APP_MAX_IMAGES": "60"}
    with server(TINY_SERVER, **settings) as process:
        with connected(process.address()) as connection:
            connection.sendall(post(zipped(**photos), "application/zip", "/v1/classify/batch") + REQUEST * more)
            wait_until(lambda: metric(process, "classifier_decode_duration_seconds_count") > 0)
        wait_until(lambda: metric(process, "classifier_requests_cancelled_total") == 1)


def metric(process: ServerProcess, name: str) -> float:
    lines = get(process.address(), "/metrics").body.decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_rest_of_a_head_after_a_request_has_a_timeout(process: ServerProcess) -> None:
    started = time.monotonic()
    with connected(process.address()) as connection:
        connection.sendall(head("/livez", "GET") + b"GET /li")
        assert [answer.status for answer in read_answers(connection, 2)] == [200, 408]
    assert time.monotonic() - started < 5 * READ_TIMEOUT_S


def test_empty_lines_between_requests_get_no_response(process: ServerProcess) -> None:
    with connected(process.address()) as connection:
        connection.sendall(head("/livez", "GET"))
        assert [answer.status for answer in read_answers(connection, 1)] == [200]
        connection.sendall(b"\r\n")
        assert connection.recv(100) == b"", "the server closes an idle connection"


def test_expectation_of_http_1_0_is_ignored(tiny_address: str) -> None:
    request = post(encoded("red"), "image/png").replace(b"HTTP/1.1", b"HTTP/1.0\r\nExpect: 100-continue", 1)
    with connected(tiny_address) as connection:
        connection.sendall(request)
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_reading_pauses_while_a_response_is_not_read(tiny_store: Path) -> None:
    """The kernel's buffers fill, and the client cannot send more."""
    settings = {"APP_STORE": str(tiny_store)}
    with server(TINY_SERVER, **settings) as process, connected(process.address()) as connection:
        sent = flood(connection, FLOOD_BYTES, patience_s=1)
    assert sent < FLOOD_BYTES


def flood(connection: socket.socket, count: int, patience_s: float) -> int:
    """Send requests until `count` bytes are sent, or none can be sent for `patience_s`; return the number of bytes."""
    connection.settimeout(patience_s)
    block, sent = memoryview(REQUEST * 2000), 0
    with suppress(TimeoutError, ConnectionError):
        while sent < count:
            sent += connection.send(block[sent % len(block) :])
    return sent


@pytest.mark.quiet
def test_flood_of_requests_takes_little_memory_and_delays_nobody(process: ServerProcess) -> None:
    """12 MB of requests of 40 bytes once took 0.7 GB, and /livez 4.4 s."""

    def measure() -> tuple[int, float]:
        before = resident_bytes(process)
        with pulse(process.address()) as livez, connected(process.address()) as connection:
            flood(connection, FLOOD_BYTES, patience_s=2 * READ_TIMEOUT_S)
            peak = highest(lambda: resident_bytes(process), seconds=1)
        return peak - before, livez.stalls

    more, stall_s = retry_while_machine_is_busy(measure, lambda result: result[1] < MAX_LIVEZ_S)
    assert more < MAX_MORE_BYTES
    assert stall_s < MAX_LIVEZ_S


@pytest.mark.quiet
def test_clients_that_never_read_are_disconnected_and_their_memory_returns(process: ServerProcess) -> None:
    """Ten of them once took 0.9 GB, and were still connected after 150 s."""
    before = resident_bytes(process)
    with pulse(process.address()) as livez, ExitStack() as stack:
        connections = [stack.enter_context(_connect_with_small_buffer(process.address())) for _ in range(10)]
        peak = _flood_all(process, connections)
        started = time.monotonic()
        for connection in connections:
            _wait_until_reset(connection)
        assert time.monotonic() - started < 10 * READ_TIMEOUT_S
    assert peak - before < 2 * MAX_MORE_BYTES
    assert livez.stalls < MAX_LIVEZ_S
    wait_until(lambda: resident_bytes(process) - before < MAX_MORE_BYTES // 2)
    assert get(process.address(), "/readyz").status == 200


def _connect_with_small_buffer(address: str) -> socket.socket:
    """Connect without blocking; the kernel otherwise takes megabytes of responses in place of the client."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = address.removeprefix("http://").partition(":")
    connection.connect((host, int(port)))
    connection.setblocking(False)
    return connection


def _flood_all(process: ServerProcess, connections: list[socket.socket]) -> int:
    """Send on all connections until the server has read from none for a second; return its peak memory."""
    peak = 0
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_WRITE)
        deadline = time.monotonic() + 3 * READ_TIMEOUT_S
        while time.monotonic() < deadline and (ready := selector.select(1)):
            for key, _ in ready:
                try:
                    connections[connections.index(key.fileobj)].send(LARGE_RESPONSES)  # type: ignore[arg-type]
                except BlockingIOError:
                    pass
                except ConnectionError:
                    selector.unregister(key.fileobj)
            peak = max(peak, resident_bytes(process))
    return peak


def _wait_until_reset(connection: socket.socket) -> None:
    """Wait until the server has disconnected, without reading; raises AssertionError after a timeout."""
    wait_until(lambda: _tcp_state(connection) != _ESTABLISHED, 10 * READ_TIMEOUT_S)


_ESTABLISHED = 1


def _tcp_state(connection: socket.socket) -> int:
    """Return the state of a TCP connection (tcp(7), struct tcp_info)."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def test_client_that_reads_slowly_is_not_disconnected(process: ServerProcess) -> None:
    """Progress counts, not the total time."""
    with _connect_with_small_buffer(process.address()) as connection:
        connection.setblocking(True)
        connection.sendall(REQUEST * SLOW_REQUESTS)
        received = read_slowly(connection, 2000, pause_s=READ_TIMEOUT_S / 8, seconds=3 * READ_TIMEOUT_S)
        connection.settimeout(30)
        while received.count(b"HTTP/1.1 ") < SLOW_REQUESTS:
            data = connection.recv(65536)
            assert data, "disconnected"
            received += data
