"""One test for each advisory on python-multipart and Starlette since 2024, against a real process.

Each attack is answered with a 4xx, costs little processor time, and /livez answers throughout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from app.server.http_protocol import MAX_HEAD_BYTES
from tests.support.encoded_images import encoded
from tests.support.processes import Answer, ServerProcess, get, server
from tests.support.raw_http import connected, cpu_s, exchange, head, post, pulse, read_answer

READ_TIMEOUT_S = 2
LIVEZ_S = 0.5  # 0.1 on a quiet machine; whatever blocks the loop here, without its bound, blocks it for seconds
CPU_S = 2.0
MEGABYTE = 1_000_000
MANY = 8 * MEGABYTE
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
PICTURE = encoded()
END = b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def process(tiny_store: Path) -> Iterator[ServerProcess]:
    with server(
        "tests.support.tiny_server", APP_STORE=str(tiny_store), APP_READ_TIMEOUT_S=str(READ_TIMEOUT_S)
    ) as started:
        started.address()
        yield started


@pytest.fixture(scope="module")
def address(process: ServerProcess) -> str:
    return process.address()


def repeated(piece: bytes, size: int = MANY) -> bytes:
    return piece * (size // len(piece))


def part(headers: bytes) -> bytes:
    return b"--b\r\n" + headers + b"\r\n\r\nx" + END


def named(number: int) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % number


def slow_to_decode() -> bytes:
    """Texts that are as long as they may be, and take the square of that to be decoded as Punycode."""
    text = "\U0010ffff".encode("punycode").ljust(65_500, b"a")
    return (b'--b\r\nContent-Disposition: form-data; name="k-"\r\n\r\n' + text + b"\r\n") * 16 + b"--b--\r\n"


def chunked(trailers: bytes) -> bytes:
    """A picture in one chunk and what comes behind it, without an end."""
    begin = head(Content_Type="image/png", Transfer_Encoding="chunked")
    return begin + b"%x\r\n%s\r\n0\r\n" % (len(PICTURE), PICTURE) + trailers


ATTACKS: dict[str, tuple[int, str, Callable[[], bytes]]] = {
    "CVE-2024-24762: Content-Type of backslashes": (
        415,
        "unsupported_content_type",
        lambda: post(b"x", 'application/x-www-form-urlencoded; !="' + "\\" * 10_000),
    ),
    "CVE-2024-24762: quotes that are never closed": (
        415,
        "unsupported_content_type",
        lambda: post(b"x", 'multipart/form-data; a="' + ";" * 10_000),
    ),
    "CVE-2024-47874: a text without end": (
        400,
        "broken_body",
        lambda: post(b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\n' + bytes(MANY) + END, FORM),
    ),
    "CVE-2024-53981: line breaks before the first boundary": (
        400,
        "broken_body",
        lambda: post(repeated(b"\r\n") + PART + PICTURE + END, FORM),
    ),
    "CVE-2024-53981: bytes behind the last boundary": (
        400,
        "broken_body",
        lambda: post(PART + PICTURE + END + repeated(b"\r\n"), FORM),
    ),
    "CVE-2026-40347: preamble": (400, "broken_body", lambda: post(b"\r\n" + bytes(MANY), FORM)),
    "CVE-2026-40347: epilogue": (400, "broken_body", lambda: post(b"--b--\r\n" + bytes(MANY), FORM)),
    "CVE-2026-42561: many part headers": (
        400,
        "broken_body",
        lambda: post(part(b"\r\n".join([b"a: b"] * (MEGABYTE // 6))), FORM),
    ),
    "CVE-2026-42561: a large part header": (400, "broken_body", lambda: post(part(b"a: " + b"b" * MANY), FORM)),
    "CVE-2026-42561: a part header that only begins": (400, "broken_body", lambda: post(part(b"a" * MANY), FORM)),
    "CVE-2026-53537: a name in the notation of mail": (
        422,
        "missing_field",
        lambda: post(part(b"Content-Disposition: form-data; name=\"other\"; name*=utf-8''file; filename=f"), FORM),
    ),
    "CVE-2026-53538, 53539: semicolons, url-encoded": (
        415,
        "unsupported_content_type",
        lambda: post(repeated(b"a;"), "application/x-www-form-urlencoded"),
    ),
    "CVE-2026-54283: fields without end, url-encoded": (
        415,
        "unsupported_content_type",
        lambda: post(repeated(b"a=b&"), "application/x-www-form-urlencoded"),
    ),
    "CVE-2026-53540: a negative Content-Length": (
        400,
        "bad_request",
        lambda: head(Content_Type=FORM, Content_Length=-1) + PART + PICTURE + END,
    ),
    "thousands of parts": (
        400,
        "broken_body",
        lambda: post(b"".join(map(named, range(5000))) + b"--b--\r\n", FORM),
    ),
    "parts without anything": (400, "broken_body", lambda: post(repeated(b"--b\r\n\r\n\r\n") + END, FORM)),
    "what looks like a boundary": (
        400,
        "broken_body",
        lambda: post(PART + repeated(b"\r\n--bX") + END, FORM),
    ),
    "spaces behind a boundary": (400, "broken_body", lambda: post(PART + b"\r\n--b" + repeated(b" ") + END, FORM)),
    "no boundary": (400, "broken_body", lambda: post(PART + PICTURE + END, "multipart/form-data")),
    "a boundary that is never used": (400, "broken_body", lambda: post(bytes(MANY), FORM)),
    "a boundary of thousands of characters": (
        400,
        "broken_body",
        lambda: post(PART + PICTURE + END, f"multipart/form-data; boundary={'b' * 900}"),
    ),
    "a charset that takes its time": (
        400,
        "broken_body",
        lambda: post(slow_to_decode(), f"{FORM}; charset=punycode"),
    ),
    "the same on the page, where nobody needs a key": (
        400,
        "",
        lambda: post(slow_to_decode(), f"{FORM}; charset=PunyCode", "/"),
    ),
    "millions of lists in JSON": (
        400,
        "broken_body",
        lambda: post(b'{"image": "", "more": [' + repeated(b"[],") + b"[]]}", "application/json"),
    ),
    "base64 with a space between any two characters": (
        422,
        "undecodable_image",
        lambda: post(b'{"image": "/ 9 j / ' + repeated(b"A ") + b'"}', "application/json"),
    ),
    "millions of lists in a tensor": (
        413,
        "",
        lambda: post(b'{"inputs": [' + repeated(b"[],", 3 * MEGABYTE) + b"[]]}", "x", "/v2/models/colours/infer"),
    ),
    "a Content-Length that says too little": (
        400,
        "bad_request",
        lambda: head(Content_Type="image/png", Content_Length=1) + PICTURE,
    ),
    "a Content-Length that is no number": (
        400,
        "bad_request",
        lambda: head(Content_Type="image/png", Content_Length="many") + PICTURE,
    ),
    "two of them": (
        400,
        "bad_request",
        lambda: head(Content_Length=len(PICTURE), content_length=1) + PICTURE,
    ),
    "a length beside chunks (CL.TE)": (
        400,
        "bad_request",
        lambda: head(Content_Length=6, Transfer_Encoding="chunked") + b"0\r\n\r\nG",
    ),
    "a head without end": (431, "head_too_large", lambda: head(X=" " * 300_000)[:-4]),
    "a head that is too large": (431, "head_too_large", lambda: head(Cookie="c" * MAX_HEAD_BYTES)),
    "an address that is too long": (431, "head_too_large", lambda: head("/" + "a" * MAX_HEAD_BYTES, "GET")),
    "trailers without end": (431, "head_too_large", lambda: chunked(b"a: b\r\n" * (MEGABYTE // 6))),
    "a trailer that only begins": (431, "head_too_large", lambda: chunked(b"a: " + b"b" * MEGABYTE)),
    "a chunk's extension without end": (431, "head_too_large", lambda: chunked(b"")[:-3] + b"1;" + b"e" * MEGABYTE),
    "no HTTP at all": (400, "bad_request", lambda: b"\x16\x03\x01 hello\r\n\r\n"),
}


@pytest.mark.parametrize(("status", "code", "attack"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused_at_little_cost_and_nobody_waits_for_it(
    address: str, status: int, code: str, attack: Callable[[], bytes]
) -> None:
    request = attack()
    cpu_before = cpu_s(address)
    with pulse(address) as taken:
        answer = exchange(address, request)
    assert answer.status == status
    if code:
        assert (answer.headers["Content-Type"], answer.json["code"]) == ("application/problem+json", code)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-ID"]
    assert taken.stalls < LIVEZ_S
    assert cpu_s(address) - cpu_before < CPU_S


def test_an_honest_form_may_have_some_space_around_its_picture(address: str) -> None:
    body = b"\r\n" + PART + PICTURE + b"\r\n--b  \r\nContent-Disposition: form-data; name=model\r\n\r\n" + END + b"bye"
    assert exchange(address, post(body, FORM)).json["predictions"][0]["label"] == "red"


def test_a_large_upload_goes_to_no_file_and_holds_nobody_up(process: ServerProcess, address: str) -> None:
    """CVE-2025-54121: Starlette wrote it to disk within the event loop; CVE-2026-24486: wherever its name said."""
    name = b'--b\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\n'
    body = name + PICTURE + bytes(MANY)
    before = open_files(process)
    with pulse(address) as taken, connected(address) as connection:
        connection.sendall(head(Content_Type=FORM, Content_Length=len(body) + len(END)) + body)
        meanwhile = open_files(process)
        connection.sendall(END)
        assert read_answer(connection).status == 200
    assert meanwhile <= before
    assert taken.stalls < LIVEZ_S


def open_files(process: ServerProcess) -> set[str]:
    links = [link.readlink() for link in Path(f"/proc/{process.process.pid}/fd").iterdir() if link.is_symlink()]
    return {str(path) for path in links if path.is_absolute()}


def test_ranges_without_end_cost_nothing(address: str) -> None:
    """CVE-2025-62727: Starlette joined the ranges of a file in quadratic time."""
    ranges = ",".join(f"{2 * i}-{2 * i}" for i in range(1500))
    before = cpu_s(address)
    with pulse(address) as taken:
        answer = exchange(address, head("/static/page.css", "GET", Range=f"bytes={ranges}"))
    assert answer.status in (200, 206, 400, 416)
    assert taken.stalls < LIVEZ_S
    assert cpu_s(address) - before < CPU_S


@pytest.mark.parametrize("host", ["server/livez?", "user@server/x", "server:80#", "[::1"])
def test_a_host_does_not_change_which_path_was_asked_for(address: str, host: str) -> None:
    """CVE-2026-48710: Starlette's `request.url.path` took in what the Host header said."""
    answer = exchange(address, f"GET /v1/models/nosuch HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.status in (400, 404)
    if answer.status == 404:
        assert answer.json["instance"] == "/v1/models/nosuch"


@pytest.mark.parametrize("path", ["@evil.example", "http://evil.example/v1/models/nosuch", "//evil.example/x"])
def test_a_path_does_not_change_which_host_was_asked(address: str, path: str) -> None:
    """PYSEC-2026-248: Starlette's `request.url.hostname` took in what the path said."""
    answer = exchange(address, head(path, "GET"))
    assert answer.status in (400, 404)
    if answer.status == 404:
        assert "evil.example/" not in answer.headers.get("Location", "")


@pytest.mark.parametrize("method", ["_HEADER", "DISPATCH", "PROPFIND", "TRACE"])
def test_a_method_is_nothing_but_a_method(address: str, method: str) -> None:
    """CVE-2026-48817: Starlette's endpoints called whatever attribute a method named."""
    assert exchange(address, head("/v1/classify", method)).status in (400, 405)


@pytest.mark.parametrize(
    "path", ["/static/../main.py", "/static/%2e%2e/main.py", "/static//etc/passwd", "/static/\\\\h\\x"]
)
def test_files_beside_the_page_stay_where_they_are(address: str, path: str) -> None:
    """Nor may they name other machines, as paths of Windows can."""
    assert exchange(address, head(path, "GET")).status in (400, 404)


def test_slow_clients_are_told_and_hung_up_on(address: str) -> None:
    with ThreadPoolExecutor() as pool, pulse(address) as taken:
        slow_body = pool.submit(dribble, address, head(Content_Type="image/png", Content_Length=1000) + b"\x89PN", b"G")
        lying_length = pool.submit(
            exchange, address, head(Content_Type=FORM, Content_Length=MEGABYTE) + PART + PICTURE + END
        )
        was_fast = head(Content_Type="image/png", Content_Length=MEGABYTE) + b"\x89PNG" + bytes(900_000)
        rests = pool.submit(dribble, address, was_fast, b"G", 4 * READ_TIMEOUT_S)
        slow_head = pool.submit(dribble, address, b"POST /v1/classify HTTP/1.1\r\nHost: s\r\n", b"A: b\r\n")
        silent = pool.submit(seconds_until_closed, address, b"")
        answered = pool.submit(seconds_until_closed, address, head("/nowhere", Content_Length=1000))
        body_comes_late = pool.submit(seconds_until_closed_after_a_late_body, address)
    assert (slow_body.result().status, slow_body.result().json["code"]) == (408, "slow_body")
    assert slow_body.result().headers["Connection"] == "close"
    assert lying_length.result().json["code"] == "slow_body"
    assert rests.result().json["code"] == "slow_body"
    assert (slow_head.result().status, slow_head.result().json["code"]) == (408, "slow_head")
    assert silent.result() >= READ_TIMEOUT_S * 0.9
    assert answered.result() >= READ_TIMEOUT_S * 0.9
    assert body_comes_late.result() >= READ_TIMEOUT_S * 0.9
    assert taken.stalls < LIVEZ_S


def dribble(address: str, begin: bytes, more: bytes, patience_s: float = 60) -> Answer:
    """Send a piece each half second, until there is an answer; raises TimeoutError."""
    until = time.monotonic() + patience_s
    with connected(address) as connection:
        connection.sendall(begin)
        connection.settimeout(0.5)
        while True:
            try:
                return read_answer(connection)
            except TimeoutError:
                if time.monotonic() > until:
                    raise
                connection.sendall(more)


def seconds_until_closed(address: str, request: bytes) -> float:
    """How long the server keeps a connection that sends no more."""
    began = time.monotonic()
    with connected(address) as connection:
        connection.sendall(request)
        while connection.recv(65536):
            pass
    return time.monotonic() - began


def seconds_until_closed_after_a_late_body(address: str) -> float:
    """The same for one whose request was answered before its body was sent."""
    with connected(address) as connection:
        connection.sendall(head("/livez", "GET", Content_Length=4))
        assert read_answer(connection).status == 200
        began = time.monotonic()
        connection.sendall(b"late")
        while connection.recv(65536):
            pass
    return time.monotonic() - began


def test_trailers_are_no_headers_and_end_a_request_that_has_its_answer(address: str) -> None:
    whole = chunked(b"X-Request-ID: trailer\r\n\r\n")
    with connected(address) as connection:
        for _ in range(2):
            connection.sendall(whole)
            answer = read_answer(connection)
            assert (answer.status, answer.headers["X-Request-ID"] != "trailer") == (200, True)
    with connected(address) as connection:
        connection.sendall(head("/nowhere", Transfer_Encoding="chunked"))
        assert read_answer(connection).status == 404
        connection.sendall(b"1\r\nx\r\n0\r\n")
        with suppress(ConnectionError):
            connection.sendall(b"a: b\r\n" * MAX_HEAD_BYTES)
            assert connection.recv(1) == b"", "a second answer to one request"


def test_a_steady_upload_is_not_slow_however_long_it_takes(address: str) -> None:
    body, pieces = PICTURE + bytes(200_000), 5

    def sent() -> Iterator[bytes]:
        yield head(Content_Type="image/png", Content_Length=len(body))
        for begin in range(0, len(body), len(body) // pieces + 1):
            yield body[begin : begin + len(body) // pieces + 1]
            time.sleep((READ_TIMEOUT_S + 1) / pieces)

    assert exchange(address, sent()).status == 200


def test_connections_are_kept_between_requests(address: str) -> None:
    with connected(address) as connection:
        for _ in range(3):
            connection.sendall(post(PICTURE + bytes(300_000), "image/png"))
            assert read_answer(connection).status == 200
    assert get(address, "/readyz").status == 200
