"""Rules of RFC 9110 and RFC 9112 for a request head that httptools does not check."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_HEAD_BYTES = 16 * 1024
"""Limit of request line and headers together, as in Node; and of chunk headers and trailers within a body."""

_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:[0-9]{0,5})?")  # RFC 3986, 3.2
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE)
_MAX_PORT = 65535
_OFFERS = frozenset({b"upgrade", b"http2-settings"})

Headers = list[tuple[bytes, bytes]]


class MalformedHead(ValueError):
    """The request head is invalid; the message says why."""


def check_host(headers: Headers, version: str) -> None:
    """Check the version of HTTP and the Host header (RFC 9112, 2.3 and 3.2).

    Raises:
        MalformedHead: the version is neither 1.1 nor 1.0; or the Host header is missing in HTTP/1.1, is repeated, or is
            not a host with an optional port.
    """
    if version not in ("1.1", "1.0"):
        raise MalformedHead("Only HTTP/1.1 and HTTP/1.0 are supported.")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        raise MalformedHead("The Host header is repeated.")
    if not hosts and version != "1.0":
        raise MalformedHead("The Host header is missing.")
    if hosts and not _is_authority(hosts[0]):
        raise MalformedHead("The Host header is not a host with an optional port.")


def check_transfer_encoding(headers: Headers) -> None:
    """Raise MalformedHead for a transfer coding other than chunked (RFC 9112, 6.1), which would stay encoded."""
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        raise MalformedHead("The only transfer coding that this server reads is chunked.")


def origin_form(target: bytes, method: bytes, headers: Headers) -> bytes:
    """Return a request target as path and query (RFC 9112, 3.2).

    The host of an absolute target replaces the Host header in `headers`.

    Raises:
        MalformedHead: the target is neither a path nor a URL with http or https, or the method is CONNECT.
    """
    if method == b"CONNECT":
        raise MalformedHead("This server is no proxy: CONNECT is not supported.")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None or not _is_authority(match[1]):
        raise MalformedHead("The request target is neither a path nor a valid URL.")
    headers[:] = [(b"host", match[1]), *(item for item in headers if item[0] != b"host")]
    return match[2] if match[2].startswith(b"/") else b"/" + match[2]


def _is_authority(value: bytes) -> bool:
    match = _AUTHORITY.fullmatch(value)
    return match is not None and int((match[2] or b"")[1:] or b"0") <= _MAX_PORT


def without_upgrade(method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Encode a request head again, without its offer to change the protocol (RFC 9110, 7.8)."""
    lines = [b"%s %s HTTP/%s" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            options = (option.strip(b" \t") for option in value.split(b","))
            kept = b", ".join(option for option in options if option.lower() not in _OFFERS)
            lines.append(b"connection: " + kept)
        elif name not in _OFFERS:
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
