"""Drafts of raw HTTP/1.1 requests: valid ones, which a kind of request changes before they are encoded."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

_FILLERS = (b"Accept: */*", b"X-Empty:", b"X-Text: \xe4 \t b", b"Cookie: a=b; c=d", b"TE: trailers", b"Via: 1.1 proxy")
_METHODS_WITH_BODY = (b"POST", b"PUT", b"PATCH", b"DELETE", b"GET")


class Verdict(Enum):
    """What a server must do with a request."""

    ACCEPT = auto()
    REJECT = auto()
    EITHER = auto()


@dataclass
class Draft:
    """A valid request that a kind changes before it is encoded."""

    dice: random.Random
    marker: str
    method: bytes = b"GET"
    prefix: bytes = b""
    target: bytes = b""
    read_path: bytes = b""
    version: bytes = b"HTTP/1.1"
    host: bytes | None = b"a"
    headers: tuple[bytes, ...] = ()
    last_headers: tuple[bytes, ...] = ()
    payload: bytes = b""
    body: bytes = b""
    newline: bytes = b"\r\n"
    closes: bool = False
    may_close: bool = False
    is_whole: bool = True

    @property
    def path(self) -> bytes:
        return f"/m/{self.marker}".encode()

    def encode(self) -> bytes:
        """Return the bytes of the request; fillers and the headers are in random order."""
        headers = [*self.headers, f"X-Request-ID: {self.marker}".encode()]
        headers += self.dice.sample(_FILLERS, self.dice.randrange(3))
        if self.host is not None:
            headers.append(b"Host: " + self.host)
        self.dice.shuffle(headers)
        line = b" ".join(filter(None, (self.method, self.target or self.path, self.version)))
        return self.prefix + self.newline.join([line, *headers, *self.last_headers, b"", b""]) + self.payload

    def with_length(self) -> Draft:
        """Give the request a body with a Content-Length."""
        self.body = self.payload = hostile_body(self.dice, self.marker)
        self.method = self.dice.choice(_METHODS_WITH_BODY)
        self.headers += (b"Content-Length: %d" % len(self.body),)
        return self

    def with_chunks(self, encode: Callable[[random.Random, bytes], bytes] | None = None) -> Draft:
        """Give the request a chunked body."""
        self.body = hostile_body(self.dice, self.marker)
        self.method = self.dice.choice(_METHODS_WITH_BODY)
        self.headers += (b"Transfer-Encoding: chunked",)
        self.payload = chunks(self.dice, self.body, encode or _plain_size) + b"0\r\n\r\n"
        return self

    def with_body(self) -> Draft:
        """Give the request a body of either framing."""
        return self.with_length() if self.dice.random() < 0.5 else self.with_chunks()


def hostile_body(dice: random.Random, marker: str) -> bytes:
    """Return up to a few hundred bytes, most of which look like the end of a body and another request."""
    inside = f"GET /inside/{marker} HTTP/1.1\r\nHost: a\r\nX-Request-ID: inside-{marker}\r\n\r\n".encode()
    return dice.choice(
        (
            b"",
            b"x",
            inside,
            inside * 2,
            b"0\r\n\r\n" + inside,
            b"\r\n" + inside,
            b"\r\n0\r\n\r\n" + inside,
            dice.randbytes(dice.randrange(300)),
        )
    )


def chunks(dice: random.Random, body: bytes, encode_size: Callable[[random.Random, bytes], bytes]) -> bytes:
    """Encode a body in random chunks without the last one; `encode_size` encodes the line before a chunk."""
    parts = []
    while body:
        size = dice.randint(1, len(body))
        parts.append(encode_size(dice, body[:size]) + b"\r\n" + body[:size] + b"\r\n")
        body = body[size:]
    return b"".join(parts)


def _plain_size(dice: random.Random, chunk: bytes) -> bytes:
    return b"%x" % len(chunk)
