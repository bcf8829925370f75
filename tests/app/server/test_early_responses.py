"""Responses that precede the end of an upload reach clients that send the whole body before they read.

The server half-closes the connection and reads on within bounds (RFC 9112, 9.6); it would otherwise send a reset, which
deletes the response.
"""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import TINY_SERVER, get, server
from tests.support.raw_http import connected, head, read_answer
from tests.support.rejections import REJECTIONS, Rejection, rejecting_servers, upload
from tests.support.slow_clients import slowly

MEGABYTE = 1_000_000
SIZE = 30 * MEGABYTE
PIECE = 65_536
TRIES = 3
MAX_LINGER_BYTES = 300 * MEGABYTE
MAX_LINGER_S = 45
CLOSING_HEADS = {
    "keep-alive": ("HTTP/1.1", ""),
    "Connection: close": ("HTTP/1.1", "Connection: close\r\n"),
    "HTTP/1.0": ("HTTP/1.0", ""),
}


@pytest.fixture(scope="module")
def addresses(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    with rejecting_servers(tiny_store, tmp_path_factory.mktemp("keys")) as started:
        yield started


def head_of(rejection: Rejection, version: str, more: str, size: int, *, is_form: bool) -> bytes:
    return (
        f"POST {rejection.path} {version}\r\nHost: localhost\r\n{more}"
        f"Content-Type: {rejection.media_type(is_form=is_form)}\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("is_form", [False, True], ids=["raw", "form"])
@pytest.mark.parametrize(("version", "more"), CLOSING_HEADS.values(), ids=CLOSING_HEADS.keys())
@pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda rejection: rejection.code)
def test_rejection_reaches_a_client_that_first_sends_the_whole_body(
    addresses: Mapping[str, str], rejection: Rejection, version: str, more: str, is_form: bool
) -> None:
    body = upload(SIZE, is_form=is_form)
    for _ in range(TRIES):
        with connected(addresses[rejection.server]) as connection:
            connection.sendall(head_of(rejection, version, more, len(body), is_form=is_form))
            for start in range(0, len(body), PIECE):
                connection.sendall(body[start : start + PIECE])
            answer = read_answer(connection)
            assert (answer.status, answer.json["code"]) == (rejection.status, rejection.code)
            assert answer.headers["Content-Type"] == "application/problem+json"
            if more or version == "HTTP/1.0":
                assert answer.headers["Connection"] == "close"
                assert connection.recv(1) == b""
            else:
                connection.sendall(head("/livez", "GET"))
                assert read_answer(connection).status == 200


def test_rejection_during_the_body_reaches_the_client(addresses: Mapping[str, str]) -> None:
    """Without a Content-Length the body is too large only after a part of it."""
    chunk = b"%x\r\n%s\r\n" % (PIECE, bytes(PIECE))
    request = head(Content_Type="image/jpeg", Transfer_Encoding="chunked", Connection="close")
    for _ in range(TRIES):
        with connected(addresses["open"]) as connection:
            connection.sendall(request)
            for _ in range(SIZE // PIECE):
                connection.sendall(chunk)
            connection.sendall(b"0\r\n\r\n")
            answer = read_answer(connection)
            assert (answer.status, answer.json["code"]) == (413, "body_too_large")
            assert connection.recv(1) == b""


def test_malformed_body_is_rejected_although_more_follows(addresses: Mapping[str, str]) -> None:
    request = head(Content_Type="image/jpeg", Transfer_Encoding="chunked") + b"no chunk\r\n"
    with connected(addresses["open"]) as connection:
        connection.sendall(request + bytes(10 * MEGABYTE))
        answer = read_answer(connection)
        assert (answer.status, answer.json["code"]) == (400, "bad_request")
        assert connection.recv(1) == b""


@pytest.mark.parametrize("size", [1, 30])
def test_urllib_reports_the_status_of_a_rejected_upload(addresses: Mapping[str, str], size: int) -> None:
    """The library announces `Connection: close`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "image/jpeg"}
    for _ in range(TRIES):
        request = urllib.request.Request(f"{addresses['open']}/v1/classify", bytes(size * MEGABYTE), headers)
        with pytest.raises(urllib.error.HTTPError) as caught:
            opener.open(request, timeout=30)
        with caught.value as error:
            assert error.code == 413
            assert b"body_too_large" in error.read()


def test_client_that_sends_without_end_is_disconnected(addresses: Mapping[str, str]) -> None:
    sent = 0
    with connected(addresses["open"]) as connection:
        connection.sendall(head(Content_Type="text/plain", Content_Length=10**12, Connection="close"))
        with suppress(ConnectionError):
            while sent < MAX_LINGER_BYTES:
                sent += connection.send(bytes(PIECE))
    assert SIZE < sent < MAX_LINGER_BYTES
    assert get(addresses["open"], "/readyz").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("pause_s", [0.5, MAX_LINGER_S])
def test_client_that_sends_slowly_after_the_response_is_disconnected(
    addresses: Mapping[str, str], pause_s: float
) -> None:
    started = time.monotonic()
    with connected(addresses["open"]) as connection:
        connection.sendall(head(Content_Type="text/plain", Content_Length=10**12, Connection="close"))
        assert read_answer(connection).status == 415
        connection.settimeout(MAX_LINGER_S)
        with suppress(ConnectionError):
            for piece in slowly([b"x"] * int(2 * MAX_LINGER_S / pause_s), pause_s):
                connection.sendall(piece)
    assert time.monotonic() - started < MAX_LINGER_S + 2 * pause_s


def test_drain_does_not_wait_for_a_client_that_still_sends(tiny_store: Path) -> None:
    """A connection that is being closed has its response already."""
    with server(TINY_SERVER, APP_STORE=str(tiny_store)) as process, connected(process.address()) as connection:
        connection.sendall(head(Content_Type="text/plain", Content_Length=10**9, Connection="close"))
        assert read_answer(connection).status == 415
        started = time.monotonic()
        process.terminate()
        assert process.exit_code() == 0
        assert time.monotonic() - started < 5


def test_half_closed_client_gets_its_response(addresses: Mapping[str, str]) -> None:
    """A client may end its direction after the request, as `nc -N` does."""
    with connected(addresses["open"]) as connection:
        connection.sendall(head("/nowhere", "GET"))
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection).status == 404
