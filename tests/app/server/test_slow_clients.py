"""Timeouts for clients that send slowly, stop, or send nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.encoded_images import encoded
from tests.support.processes import TINY_SERVER, Answer, get, server
from tests.support.raw_http import connected, exchange, head, post, pulse, read_answer
from tests.support.slow_clients import slowly

READ_TIMEOUT_S = 2
MAX_LIVEZ_S = 0.5  # 0.1 on a quiet machine
MEGABYTE = 1_000_000
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
END = b"\r\n--b--\r\n"
IMAGE = encoded()


@pytest.fixture(scope="module")
def address(tiny_store: Path) -> Iterator[str]:
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_READ_TIMEOUT_S=str(READ_TIMEOUT_S)) as process:
        yield process.address()


@pytest.mark.quiet
def test_slow_clients_get_a_timeout_and_are_disconnected(address: str) -> None:
    with ThreadPoolExecutor() as pool, pulse(address) as livez:
        slow_body = pool.submit(dribble, address, head(Content_Type="image/png", Content_Length=1000) + b"\x89PN", b"G")
        short_body = pool.submit(
            exchange, address, head(Content_Type=FORM, Content_Length=MEGABYTE) + PART + IMAGE + END
        )
        fast_start = head(Content_Type="image/png", Content_Length=MEGABYTE) + b"\x89PNG" + bytes(900_000)
        pauses = pool.submit(dribble, address, fast_start, b"G", 4 * READ_TIMEOUT_S)
        slow_head = pool.submit(dribble, address, b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n", b"A: b\r\n")
        silent = pool.submit(seconds_until_closed, address, b"")
        answered = pool.submit(seconds_until_closed, address, head("/nowhere", Content_Length=1000))
        late_body = pool.submit(seconds_until_closed_after_a_late_body, address)
    assert (slow_body.result().status, slow_body.result().json["code"]) == (408, "slow_body")
    assert slow_body.result().headers["Connection"] == "close"
    assert short_body.result().json["code"] == "slow_body"
    assert pauses.result().json["code"] == "slow_body"
    assert (slow_head.result().status, slow_head.result().json["code"]) == (408, "slow_head")
    assert silent.result() >= READ_TIMEOUT_S * 0.9
    assert answered.result() >= READ_TIMEOUT_S * 0.9
    assert late_body.result() >= READ_TIMEOUT_S * 0.9
    assert livez.stalls < MAX_LIVEZ_S


def dribble(address: str, start: bytes, more: bytes, timeout_s: float = 60) -> Answer:
    """Send a piece each half second until there is a response; raises TimeoutError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    with connected(address) as connection:
        connection.sendall(start)
        connection.settimeout(0.5)
        while True:
            try:
                return read_answer(connection)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
                connection.sendall(more)


def seconds_until_closed(address: str, request: bytes) -> float:
    """Return how long the server keeps a connection that sends nothing more."""
    started = time.monotonic()
    with connected(address) as connection:
        connection.sendall(request)
        while connection.recv(65536):
            pass
    return time.monotonic() - started


def seconds_until_closed_after_a_late_body(address: str) -> float:
    """Return the same for a connection whose request was answered before its body was sent."""
    with connected(address) as connection:
        connection.sendall(head("/livez", "GET", Content_Length=4))
        assert read_answer(connection).status == 200
        started = time.monotonic()
        connection.sendall(b"late")
        while connection.recv(65536):
            pass
    return time.monotonic() - started


def test_steady_upload_may_take_longer_than_the_timeout(address: str) -> None:
    body, count = IMAGE + bytes(200_000), 5
    size = len(body) // count + 1
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    start = head(Content_Type="image/png", Content_Length=len(body))
    assert exchange(address, slowly([start, *pieces], pause_s=(READ_TIMEOUT_S + 1) / count)).status == 200


def test_connection_is_kept_between_requests(address: str) -> None:
    with connected(address) as connection:
        for _ in range(3):
            connection.sendall(post(IMAGE + bytes(300_000), "image/png"))
            assert read_answer(connection).status == 200
    assert get(address, "/readyz").status == 200
