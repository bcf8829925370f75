"""Read a request body within limits on its size, its rate and the memory that all bodies occupy.

Nothing is written to disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from app.asgi import request_header
from app.errors import BodyTimeout, BodyTooLarge, EmptyBody, UnsupportedMediaType
from app.threads import run_in_request_thread
from app.uploads.budget import MemoryLease
from app.uploads.content_encoding import check_encoding, decompress

MIN_BYTES_PER_S = 10_000
"""Rate below which an upload exhausts APP_READ_TIMEOUT_S: a slower client holds a connection rather than uploads."""

_CONTENT_LENGTH = re.compile(r"[0-9]{1,15}")
_MAX_CHUNKS_ON_LOOP = 16  # of 64 KiB: joining more than a megabyte would block the event loop for too long
_MAX_CONTENT_TYPE = 1000  # characters: parsing takes time that grows with the square of the length


def media_type(request: Request) -> str:
    """Return the media type of the body, in lower case and without parameters.

    Raises:
        UnsupportedMediaType: the Content-Type is too long to parse.
    """
    content_type = request_header(request.scope, b"content-type") or ""
    if len(content_type) > _MAX_CONTENT_TYPE:
        raise UnsupportedMediaType(f"The Content-Type is longer than {_MAX_CONTENT_TYPE:,} characters.")
    return parse_options_header(content_type)[0].decode("latin-1").lower()


def open_body(request: Request, lease: MemoryLease, max_bytes: int, timeout_s: float) -> AsyncGenerator[bytes, None]:
    """Return the decompressed body as a stream to read once.

    Args:
        request: the request.
        lease: counts the bytes as they arrive, and those of the decompressed body.
        max_bytes: size limit of the body, compressed and decompressed.
        timeout_s: longest pause; the whole body may take this long plus 1 s for every `MIN_BYTES_PER_S` bytes.

    Raises:
        BodyTooLarge: Content-Length exceeds the limit, or, while reading, the body does.
        UnsupportedContentEncoding: the body is compressed by a method other than gzip and deflate.
        EmptyBody, BodyTimeout, MalformedBody, Overloaded, ClientDisconnect: while reading.
    """
    declared = request_header(request.scope, b"content-length") or ""
    if _CONTENT_LENGTH.fullmatch(declared) and int(declared) > max_bytes:
        raise too_large(max_bytes)
    coding = check_encoding(request_header(request.scope, b"content-encoding") or "")
    body = _stream(request, lease, max_bytes, timeout_s)
    return _decompressed(body, coding, lease, max_bytes) if coding else body


async def read_all(body: AsyncGenerator[bytes, None]) -> bytes:
    """Read a body to its end."""
    chunks = [chunk async for chunk in body]
    is_large = len(chunks) > _MAX_CHUNKS_ON_LOOP
    return await run_in_request_thread(b"".join, chunks) if is_large else b"".join(chunks)


def too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error for a body of more than `max_bytes`."""
    return BodyTooLarge(f"The body exceeds the limit of {max_bytes:,} bytes. Send a smaller one.")


async def _stream(
    request: Request, lease: MemoryLease, max_bytes: int, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    now, count, is_more = asyncio.get_running_loop().time, 0, True
    expires = now() + timeout_s
    while is_more:
        try:
            async with asyncio.timeout_at(expires):
                message = await request.receive()  # request.stream() would switch tasks three times for a message
        except TimeoutError as error:
            raise BodyTimeout(f"Timeout while reading the body; {count:,} bytes arrived.") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, is_more = message.get("body", b""), message.get("more_body", False)
        count += len(chunk)
        expires = min(expires + len(chunk) / MIN_BYTES_PER_S, now() + timeout_s)  # a fast start earns no longer pause
        if count > max_bytes:
            raise too_large(max_bytes)
        lease.acquire(len(chunk))
        yield chunk
    if not count:
        raise EmptyBody("The request has no body. Send an image: curl -F file=@photo.jpg URL")


async def _decompressed(
    body: AsyncGenerator[bytes, None], coding: str, lease: MemoryLease, max_bytes: int
) -> AsyncGenerator[bytes, None]:
    """Decompress a body; the limit on its size also ends a decompression bomb."""
    count = 0
    async for piece in decompress(body, coding):
        count += len(piece)
        if count > max_bytes:
            raise too_large(max_bytes)
        lease.acquire(len(piece))
        yield piece
    if not count:
        raise EmptyBody("The decompressed body is empty. Send an image: curl -F file=@photo.jpg URL")
