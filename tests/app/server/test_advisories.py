"""Attacks from every advisory on python-multipart and Starlette since 2024, on a server process.

Each attack gets a 4xx response and little processor time, and /livez responds throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.server.request_head import MAX_HEAD_BYTES
from tests.support.encoded_images import encoded
from tests.support.processes import TINY_SERVER, ServerProcess, server
from tests.support.raw_http import connected, cpu_s, exchange, head, post, pulse, read_answer

MAX_LIVEZ_S = 0.5  # 0.1 on a quiet machine; an unbounded attack blocks the event loop for seconds
MAX_CPU_S = 2.0
MEGABYTE = 1_000_000
LARGE = 8 * MEGABYTE
FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
IMAGE = encoded()
END = b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def process(tiny_store: Path) -> Iterator[ServerProcess]:
    with server(TINY_SERVER, APP_STORE=str(tiny_store), APP_READ_TIMEOUT_S="2") as started:
        started.address()
        yield started


@pytest.fixture(scope="module")
def address(process: ServerProcess) -> str:
    return process.address()


def repeated(piece: bytes, size: int = LARGE) -> bytes:
    return piece * (size // len(piece))


def part(headers: bytes) -> bytes:
    return b"--b\r\n" + headers + b"\r\n\r\nx" + END


def text_part(number: int) -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % number


def punycode_form() -> bytes:
    """Return a form of texts at the size limit, whose decoding as Punycode takes quadratic time."""
    text = "\U0010ffff".encode("punycode").ljust(65_500, b"a")
    return (b'--b\r\nContent-Disposition: form-data; name="k-"\r\n\r\n' + text + b"\r\n") * 16 + b"--b--\r\n"


def chunked(trailers: bytes) -> bytes:
    """Return an image in one chunk, followed by trailers without an end."""
    start = head(Content_Type="image/png", Transfer_Encoding="chunked")
    return start + b"%x\r\n%s\r\n0\r\n" % (len(IMAGE), IMAGE) + trailers


ATTACKS: dict[str, tuple[int, str, Callable[[], bytes]]] = {
    "CVE-2024-24762: Content-Type of backslashes": (
        415,
        "unsupported_content_type",
        lambda: post(b"x", 'application/x-www-form-urlencoded; !="' + "\\" * 10_000),
    ),
    "CVE-2024-24762: unclosed quotes": (
        415,
        "unsupported_content_type",
        lambda: post(b"x", 'multipart/form-data; a="' + ";" * 10_000),
    ),
    "CVE-2024-47874: unbounded text field": (
        400,
        "broken_body",
        lambda: post(b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\n' + bytes(LARGE) + END, FORM),
    ),
    "CVE-2024-53981: line breaks before the first boundary": (
        400,
        "broken_body",
        lambda: post(repeated(b"\r\n") + PART + IMAGE + END, FORM),
    ),
    "CVE-2024-53981: bytes after the last boundary": (
        400,
        "broken_body",
        lambda: post(PART + IMAGE + END + repeated(b"\r\n"), FORM),
    ),
    "CVE-2026-40347: preamble": (400, "broken_body", lambda: post(b"\r\n" + bytes(LARGE), FORM)),
    "CVE-2026-40347: epilogue": (400, "broken_body", lambda: post(b"--b--\r\n" + bytes(LARGE), FORM)),
    "CVE-2026-42561: many part headers": (
        400,
        "broken_body",
        lambda: post(part(b"\r\n".join([b"a: b"] * (MEGABYTE // 6))), FORM),
    ),
    "CVE-2026-42561: large part header": (400, "broken_body", lambda: post(part(b"a: " + b"b" * LARGE), FORM)),
    "CVE-2026-42561: unfinished part header": (400, "broken_body", lambda: post(part(b"a" * LARGE), FORM)),
    "CVE-2026-53538, 53539: semicolons, url-encoded": (
        415,
        "unsupported_content_type",
        lambda: post(repeated(b"a;"), "application/x-www-form-urlencoded"),
    ),
    "CVE-2026-54283: unbounded fields, url-encoded": (
        415,
        "unsupported_content_type",
        lambda: post(repeated(b"a=b&"), "application/x-www-form-urlencoded"),
    ),
    "CVE-2026-53540: negative Content-Length": (
        400,
        "bad_request",
        lambda: head(Content_Type=FORM, Content_Length=-1) + PART + IMAGE + END,
    ),
    "thousands of parts": (
        400,
        "broken_body",
        lambda: post(b"".join(map(text_part, range(5000))) + b"--b--\r\n", FORM),
    ),
    "empty parts": (400, "broken_body", lambda: post(repeated(b"--b\r\n\r\n\r\n") + END, FORM)),
    "near boundaries": (
        400,
        "broken_body",
        lambda: post(PART + repeated(b"\r\n--bX") + END, FORM),
    ),
    "spaces after a boundary": (400, "broken_body", lambda: post(PART + b"\r\n--b" + repeated(b" ") + END, FORM)),
    "no boundary": (400, "broken_body", lambda: post(PART + IMAGE + END, "multipart/form-data")),
    "unused boundary": (400, "broken_body", lambda: post(bytes(LARGE), FORM)),
    "very long boundary": (
        400,
        "broken_body",
        lambda: post(PART + IMAGE + END, f"multipart/form-data; boundary={'b' * 900}"),
    ),
    "quadratic charset": (
        400,
        "broken_body",
        lambda: post(punycode_form(), f"{FORM}; charset=punycode"),
    ),
    "quadratic charset on the page, which needs no key": (
        400,
        "",
        lambda: post(punycode_form(), f"{FORM}; charset=PunyCode", "/"),
    ),
    "millions of lists in JSON": (
        400,
        "broken_body",
        lambda: post(b'{"image": "", "more": [' + repeated(b"[],") + b"[]]}", "application/json"),
    ),
    "base64 with a space after each character": (
        422,
        "undecodable_image",
        lambda: post(b'{"image": "/ 9 j / ' + repeated(b"A ") + b'"}', "application/json"),
    ),
    "millions of lists in a tensor": (
        413,
        "",
        lambda: post(b'{"inputs": [' + repeated(b"[],", 3 * MEGABYTE) + b"[]]}", "x", "/v2/models/colours/infer"),
    ),
    "Content-Length that is too small": (  # the first byte is a whole body, the others are a malformed request
        415,
        "unsupported_format",
        lambda: head(Content_Type="image/png", Content_Length=1) + IMAGE,
    ),
    "Content-Length that is not a number": (
        400,
        "bad_request",
        lambda: head(Content_Type="image/png", Content_Length="many") + IMAGE,
    ),
    "two Content-Lengths": (
        400,
        "bad_request",
        lambda: head(Content_Length=len(IMAGE), content_length=1) + IMAGE,
    ),
    "Content-Length and chunks (CL.TE)": (
        400,
        "bad_request",
        lambda: head(Content_Length=6, Transfer_Encoding="chunked") + b"0\r\n\r\nG",
    ),
    "unfinished head": (431, "head_too_large", lambda: head(X=" " * 300_000)[:-4]),
    "large head": (431, "head_too_large", lambda: head(Cookie="c" * MAX_HEAD_BYTES)),
    "long path": (431, "head_too_large", lambda: head("/" + "a" * MAX_HEAD_BYTES, "GET")),
    "unbounded trailers": (431, "head_too_large", lambda: chunked(b"a: b\r\n" * (MEGABYTE // 6))),
    "unfinished trailer": (431, "head_too_large", lambda: chunked(b"a: " + b"b" * MEGABYTE)),
    "unfinished chunk extension": (431, "head_too_large", lambda: chunked(b"")[:-3] + b"1;" + b"e" * MEGABYTE),
    "not HTTP": (400, "bad_request", lambda: b"\x16\x03\x01 hello\r\n\r\n"),
}


@pytest.mark.parametrize(("status", "code", "attack"), ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.quiet
def test_attack_is_rejected_cheaply_without_delaying_others(
    address: str, status: int, code: str, attack: Callable[[], bytes]
) -> None:
    request = attack()
    cpu_before = cpu_s(address)
    with pulse(address) as livez:
        answer = exchange(address, request)
    assert answer.status == status
    if code:
        assert (answer.headers["Content-Type"], answer.json["code"]) == ("application/problem+json", code)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-ID"]
    assert livez.stalls < MAX_LIVEZ_S
    assert cpu_s(address) - cpu_before < MAX_CPU_S


def test_extended_name_of_a_part_is_ignored(address: str) -> None:
    """CVE-2026-53537: `name*` (RFC 2231) must not replace the name that a proxy in front has checked."""
    text = b"--b\r\nContent-Disposition: form-data; name=\"note\"; name*=utf-8''model\r\n\r\nx\r\n"
    answer = exchange(address, post(text + PART + IMAGE + END, FORM))
    assert answer.json["predictions"][0]["label"] == "red"  # a field `model` would be an error


def test_valid_form_may_have_whitespace_around_its_parts(address: str) -> None:
    body = b"\r\n" + PART + IMAGE + b"\r\n--b  \r\nContent-Disposition: form-data; name=note\r\n\r\n" + END + b"bye"
    assert exchange(address, post(body, FORM)).json["predictions"][0]["label"] == "red"


@pytest.mark.quiet
def test_large_upload_opens_no_file_and_does_not_delay_others(process: ServerProcess, address: str) -> None:
    """CVE-2025-54121: Starlette wrote uploads to disk in the event loop; CVE-2026-24486: at a path from their name."""
    name = b'--b\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\n'
    body = name + IMAGE + bytes(LARGE)
    before = open_files(process)
    with pulse(address) as livez, connected(address) as connection:
        connection.sendall(head(Content_Type=FORM, Content_Length=len(body) + len(END)) + body)
        during = open_files(process)
        connection.sendall(END)
        assert read_answer(connection).status == 200
    assert during <= before
    assert livez.stalls < MAX_LIVEZ_S


def open_files(process: ServerProcess) -> set[str]:
    links = [link.readlink() for link in Path(f"/proc/{process.process.pid}/fd").iterdir() if link.is_symlink()]
    return {str(path) for path in links if path.is_absolute()}


@pytest.mark.quiet
def test_many_ranges_cost_little(address: str) -> None:
    """CVE-2025-62727: Starlette merged the ranges of a file in quadratic time."""
    ranges = ",".join(f"{2 * i}-{2 * i}" for i in range(1500))
    before = cpu_s(address)
    with pulse(address) as livez:
        answer = exchange(address, head("/static/page.css", "GET", Range=f"bytes={ranges}"))
    assert answer.status in (200, 206, 400, 416)
    assert livez.stalls < MAX_LIVEZ_S
    assert cpu_s(address) - before < MAX_CPU_S


@pytest.mark.parametrize("host", ["server/livez?", "user@server/x", "server:80#", "[::1"])
def test_host_header_does_not_change_the_path(address: str, host: str) -> None:
    """CVE-2026-48710: Starlette's `request.url.path` included a path from the Host header."""
    answer = exchange(address, f"GET /v1/models/nosuch HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.status in (400, 404, 421)
    if answer.status != 400:
        assert answer.json["instance"] == "/v1/models/nosuch"


@pytest.mark.parametrize("path", ["@evil.example", "http://evil.example/v1/models/nosuch", "//evil.example/x"])
def test_path_does_not_change_the_host(address: str, path: str) -> None:
    """PYSEC-2026-248: Starlette's `request.url.hostname` included a host from the path."""
    answer = exchange(address, head(path, "GET"))
    assert answer.status in (400, 404, 421)
    if answer.status == 404:
        assert "evil.example/" not in answer.headers.get("Location", "")


@pytest.mark.parametrize("method", ["_HEADER", "DISPATCH", "PROPFIND", "TRACE"])
def test_unknown_methods_call_nothing(address: str, method: str) -> None:
    """CVE-2026-48817: Starlette's endpoints called the attribute that the method named."""
    assert exchange(address, head("/v1/classify", method)).status in (400, 405)


@pytest.mark.parametrize(
    "path", ["/static/../main.py", "/static/%2e%2e/main.py", "/static//etc/passwd", "/static/\\\\h\\x"]
)
def test_only_static_files_are_served(address: str, path: str) -> None:
    """Windows paths could also name other machines."""
    assert exchange(address, head(path, "GET")).status in (400, 404)


def test_trailers_are_no_headers_and_cannot_continue_a_finished_request(address: str) -> None:
    request = chunked(b"X-Request-ID: trailer\r\n\r\n")
    with connected(address) as connection:
        for _ in range(2):
            connection.sendall(request)
            answer = read_answer(connection)
            assert (answer.status, answer.headers["X-Request-ID"] != "trailer") == (200, True)
    with connected(address) as connection:
        connection.sendall(head("/nowhere", Transfer_Encoding="chunked"))
        assert read_answer(connection).status == 404
        connection.sendall(b"1\r\nx\r\n0\r\n")
        with suppress(ConnectionError):
            connection.sendall(b"a: b\r\n" * MAX_HEAD_BYTES)
            assert connection.recv(1) == b"", "a second response to one request"
