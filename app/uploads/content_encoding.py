"""Decompress request bodies (Content-Encoding: gzip or deflate; RFC 9110, 8.4) within the size limit of the body."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterator

from app.errors import MalformedBody, UnsupportedContentEncoding

_GZIP_NAMES = ("gzip", "x-gzip")
_GZIP, _ZLIB, _RAW_DEFLATE = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS  # `wbits` of zlib
_PIECE_BYTES = 64 * 1024  # takes less than a millisecond of the event loop
_MAX_MEMBERS = 100  # of gzip; a body of empty ones would cost time without reaching the limit on its size


def check_encoding(header: str) -> str:
    """Return the coding of a Content-Encoding header: `gzip`, `deflate`, or nothing for an uncompressed body.

    Raises:
        UnsupportedContentEncoding: another coding, or several.
    """
    coding = header.strip().lower()
    if coding in ("", "identity"):
        return ""
    if coding in _GZIP_NAMES:
        return "gzip"
    if coding == "deflate":
        return coding
    raise UnsupportedContentEncoding(coding)


async def decompress(body: AsyncGenerator[bytes, None], coding: str) -> AsyncGenerator[bytes, None]:
    """Decompress a body in pieces of at most 64 KiB, so that the caller can stop at its limit.

    Raises:
        MalformedBody: the body is not in this coding, or ends too early.
    """
    inflater = _Inflater(coding)
    async for chunk in body:
        for piece in inflater.feed(chunk):
            yield piece
            await asyncio.sleep(0)  # let other requests run
    inflater.finish()


class _Inflater:
    """Decompresses a stream: gzip of one or more members (RFC 1952), or deflate with or without zlib's header."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._buffer = b""
        self._stream: zlib._Decompress | None = None
        self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        data, self._buffer = self._buffer + data, b""
        piece = b""
        while data or len(piece) == _PIECE_BYTES:  # a full piece: zlib may hold more output without any input
            if self._stream is None or self._stream.eof:
                if len(data) < 2:  # too short for the header of the next stream
                    self._buffer = data
                    return
                self._stream = self._open(data)
            try:
                piece = self._stream.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise self._malformed() from error
            data = self._stream.unused_data or self._stream.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        if self._buffer or not (self._stream and self._stream.eof):
            raise self._malformed()

    def _open(self, data: bytes) -> zlib._Decompress:
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise self._malformed()
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP)
        if self._stream is not None:  # deflate has no members
            raise self._malformed()
        has_zlib_header = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0  # RFC 1950, 2.2
        return zlib.decompressobj(_ZLIB if has_zlib_header else _RAW_DEFLATE)

    def _malformed(self) -> MalformedBody:
        return MalformedBody(
            f"The body is not valid {self._coding}, or it is truncated. "
            "Compress it as Content-Encoding says, or leave the header out."
        )
