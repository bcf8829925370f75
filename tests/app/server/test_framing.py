"""Where a request ends: offers to upgrade, CONNECT, targets, Host and whitespace (RFC 9110, RFC 9112)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.encoded_images import encoded
from tests.support.processes import TINY_SERVER, server
from tests.support.raw_http import connected, head, read_answer, read_answers
from tests.support.slow_clients import slowly

IMAGE = encoded(kind="JPEG", size=(64, 48))
INSIDE = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
OFFERS = ("h2c", "websocket", "TLS/1.2", "anything")
PAUSE_S = 0.05
MALFORMED = {
    "target without a host": b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with an impossible port": b"GET http://a:99999/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "target without a slash": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "CONNECT with a body": b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: %d\r\n\r\n" % len(INSIDE),
    "CONNECT of a path": b"CONNECT /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "the same Host twice": b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "Host with a user": b"GET /livez HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "Host with a path": b"GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with an impossible port": b"GET /livez HTTP/1.1\r\nHost: a:99999\r\n\r\n",
    "Host with a space": b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n",
}


def upgrade(offer: str, framing: str) -> bytes:
    return (
        "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        f"Upgrade: {offer}\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\nContent-Type: image/jpeg\r\n{framing}\r\n\r\n"
    ).encode()


def framed(body: bytes, *, is_chunked: bool) -> tuple[str, bytes]:
    """Return the header for the framing of a body, and the framed body."""
    if is_chunked:
        return "Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return f"Content-Length: {len(body)}", body


@pytest.mark.parametrize("is_split", [False, True], ids=["one packet", "two packets"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("offer", OFFERS)
def test_offer_to_upgrade_is_ignored(tiny_address: str, offer: str, is_chunked: bool, is_split: bool) -> None:
    """RFC 9110, 7.8: a server may ignore Upgrade. Java's HttpClient and `curl --http2` offer h2c."""
    framing, body = framed(IMAGE, is_chunked=is_chunked)
    with connected(tiny_address) as connection:
        for _ in range(2):
            request = upgrade(offer, framing)
            for packet in slowly([request, body] if is_split else [request + body], PAUSE_S):
                connection.sendall(packet)
            answer = read_answer(connection)
            assert (answer.status, answer.json["predictions"][0]["label"]) == (200, "red")
        connection.sendall(head("/nowhere", "GET"))
        assert read_answer(connection).status == 404


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
@pytest.mark.parametrize("offer", OFFERS)
def test_body_behind_an_offer_to_upgrade_is_never_a_request(tiny_address: str, offer: str, is_chunked: bool) -> None:
    framing, body = framed(INSIDE, is_chunked=is_chunked)
    with connected(tiny_address) as connection:
        connection.sendall(upgrade(offer, framing) + body + head("/nowhere", "GET", Connection="close"))
        assert [answer.status for answer in read_answers(connection)] == [415, 404]


def test_offer_to_upgrade_without_a_body_is_ignored(tiny_address: str) -> None:
    request = head("/v1/models", "GET", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="AAEAAEAA")
    with connected(tiny_address) as connection:
        connection.sendall(request * 3)
        assert [answer.status for answer in read_answers(connection, 3)] == [200] * 3


def test_client_that_offers_h2c_may_expect_100_continue(tiny_address: str) -> None:
    framing = f"Expect: 100-continue\r\nContent-Length: {len(IMAGE)}"
    with connected(tiny_address) as connection:
        connection.sendall(upgrade("h2c", framing))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(IMAGE)
        assert read_answer(connection).status == 200


@pytest.mark.parametrize("request_head", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_request_gets_one_problem_and_ends_the_connection(tiny_address: str, request_head: bytes) -> None:
    with connected(tiny_address) as connection:
        connection.sendall(request_head + INSIDE)
        answer = read_answer(connection)
        assert answer.status in (400, 405)
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Connection"] == "close"
        assert answer.json["status"] == answer.status
        assert connection.recv(1) == b"", "a response to what follows"


def test_malformed_request_does_not_affect_the_responses_before_it(tiny_address: str) -> None:
    with connected(tiny_address) as connection:
        connection.sendall(head("/v1/models", "GET") + head("/nowhere", "GET") + MALFORMED["no Host"] + INSIDE)
        assert [answer.status for answer in read_answers(connection)] == [200, 404, 400]


def test_http_1_0_needs_no_host(tiny_address: str) -> None:
    with connected(tiny_address) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert read_answer(connection).status == 200
        assert connection.recv(1) == b""


def test_absolute_target_names_the_path(tiny_address: str) -> None:
    """RFC 9112, 3.2.2: a server must accept it; proxies send it."""
    with connected(tiny_address) as connection:
        connection.sendall(b"GET http://localhost:80/v1/models/nosuch HTTP/1.1\r\nHost: other\r\n\r\n")
        answer = read_answer(connection)
        assert (answer.status, answer.json["instance"]) == (404, "/v1/models/nosuch")


@pytest.mark.parametrize("space", ["", " ", "\t", " \t ", "\t\t"], ids=["none", "space", "tab", "both", "tabs"])
def test_whitespace_around_header_values_is_no_part_of_them(tiny_address: str, space: str) -> None:
    """RFC 9110, 5.5."""
    values = {
        "Host": "localhost:80",
        "X-Request-ID": "a b\tc" if "\t" not in space else "a b",
        "Content-Type": "image/jpeg",
        "Content-Length": str(len(IMAGE)),
        "Connection": "close",
    }
    lines = [f"{name}:{space}{value}{space}" for name, value in values.items()]
    with connected(tiny_address) as connection:
        connection.sendall("\r\n".join(["POST /v1/classify HTTP/1.1", *lines, "", ""]).encode() + IMAGE)
        answer = read_answer(connection)
        assert answer.status == 200
        if "\t" in space:
            assert answer.headers["X-Request-ID"] == "a b"
        assert connection.recv(1) == b""


@pytest.fixture
def log_of_attack(tiny_store: Path) -> Iterator[list[str]]:
    """Send 20 of each malformed request; return the lines of the log."""
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_LOG_JSON="1") as process:
        address = process.address()
        before = len(process.lines)
        for request_head in MALFORMED.values():
            for _ in range(20):
                with connected(address) as connection:
                    connection.sendall(request_head)
                    assert read_answer(connection).status in (400, 405)
        process.terminate()
        assert process.exit_code() == 0
        yield process.lines[before:]


def test_malformed_requests_do_not_fill_the_log(log_of_attack: list[str]) -> None:
    """Each once logged a traceback of 2.5 kB."""
    assert sum(map(len, log_of_attack)) < 3_000
    assert "Traceback" not in "".join(log_of_attack)
    entries = [json.loads(line) for line in log_of_attack]
    assert 1 <= sum(entry.get("status") == 400 for entry in entries) <= 3
