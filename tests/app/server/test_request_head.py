"""Rules for request heads: Host, request targets, and offers to change the protocol."""

from __future__ import annotations

import pytest

from app.server.request_head import MalformedHead, check_host, check_transfer_encoding, origin_form, without_upgrade


@pytest.mark.parametrize(
    "host",
    [b"a", b"a.example:8000", b"127.0.0.1:80", b"[::1]:8000", b"[::1]", b"", b"under_score", b"a:", b"a:65535"],
)
def test_valid_host_is_accepted(host: bytes) -> None:
    check_host([(b"accept", b"*/*"), (b"host", host)], "1.1")


@pytest.mark.parametrize(
    "host",
    [
        b"a@b",
        b"a b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a:b",
        b"a:99999",
        b"a:65536",
        b"a:1:2",
        b"[::1",
        b"::1]",
        b"\xff",
        b"http://a",
    ],
)
def test_malformed_host_is_rejected(host: bytes) -> None:
    with pytest.raises(MalformedHead, match="not a host"):
        check_host([(b"host", host)], "1.1")


def test_host_is_required_once_in_http_1_1_only() -> None:
    check_host([], "1.0")
    with pytest.raises(MalformedHead, match="missing"):
        check_host([], "1.1")
    for version in ("1.0", "1.1"):
        with pytest.raises(MalformedHead, match="repeated"):
            check_host([(b"host", b"a"), (b"host", b"a")], version)


@pytest.mark.parametrize(
    "codings", [[b"gzip, chunked"], [b"gzip", b"chunked"], [b"identity"], [b"chunked", b"chunked"]]
)
def test_other_transfer_codings_are_rejected(codings: list[bytes]) -> None:
    check_transfer_encoding([(b"transfer-encoding", b"Chunked")])
    with pytest.raises(MalformedHead, match="chunked"):
        check_transfer_encoding([(b"transfer-encoding", coding) for coding in codings])


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2"])
def test_other_versions_of_http_are_rejected(version: str) -> None:
    with pytest.raises(MalformedHead, match="Only HTTP"):
        check_host([(b"host", b"a")], version)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"/v1/models?a=b", b"/v1/models?a=b", b"original"),
        (b"//a/b", b"//a/b", b"original"),
        (b"http://other:81/v1/models?a=b", b"/v1/models?a=b", b"other:81"),
        (b"HTTP://other", b"/", b"other"),
        (b"https://other?a=b", b"/?a=b", b"other"),
    ],
)
def test_absolute_target_replaces_the_host(target: bytes, path: bytes, host: bytes) -> None:
    headers = [(b"accept", b"*/*"), (b"host", b"original")]
    assert origin_form(target, b"GET", headers) == path
    assert [value for name, value in headers if name == b"host"] == [host]
    assert (b"accept", b"*/*") in headers


@pytest.mark.parametrize(
    "target", [b"http:///x", b"http://a:99999/x", b"http://a@b/x", b"ftp://a/x", b"a:80", b"x", b"*", b""]
)
def test_target_that_is_neither_a_path_nor_a_url_is_rejected(target: bytes) -> None:
    with pytest.raises(MalformedHead, match="request target"):
        origin_form(target, b"GET", [])


def test_connect_is_rejected_and_options_may_name_the_server() -> None:
    with pytest.raises(MalformedHead, match="CONNECT"):
        origin_form(b"a:80", b"CONNECT", [])
    assert origin_form(b"*", b"OPTIONS", []) == b"*"


def test_offer_to_upgrade_is_removed_and_other_headers_are_kept() -> None:
    headers = [
        (b"host", b"a"),
        (b"connection", b"Upgrade, HTTP2-Settings, close"),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAMAAABkAAQAAP__"),
        (b"content-length", b"3"),
    ]
    assert without_upgrade(b"POST", b"/x", "1.1", headers) == (
        b"POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\n"
    )
