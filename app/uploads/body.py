"""A request's body -> its type and its bytes, counted and timed as they arrive.

Nothing larger than the limit is ever held, nor more of all requests together than theirs, and nothing goes to disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from app.errors import BodyTimeout, BodyTooLarge, EmptyBody, UnsupportedMediaType
from app.state import get_state, request_header
from app.uploads.budget import MemoryLease

MIN_BYTES_PER_S = 10_000
"""Bytes a second, beyond APP_READ_TIMEOUT_S: slower is not a poor line but an attempt to hold connections."""

_NUMBER = re.compile(r"[0-9]{1,15}")
_MANY_CHUNKS = 16  # of 64 KiB: more than a megabyte takes longer than the event loop may stand still
_LONGEST_TYPE = 1000  # to take one apart costs time that grows with the square of its length


def open_body(request: Request, max_bytes: int) -> tuple[str, AsyncGenerator[bytes, None]]:
    """The Content-Type, in lower case and without parameters, and the body, to be read once.

    Raises:
        BodyTooLarge: more than `max_bytes`; at once where Content-Length tells, otherwise while it is read.
        UnsupportedType: the Content-Type is absurdly long.
        EmptyBody, SlowBody, Overloaded, ClientDisconnect: while it is read.
    """
    declared = request_header(request.scope, b"content-length") or ""
    if _NUMBER.fullmatch(declared) and int(declared) > max_bytes:
        raise too_large(max_bytes)
    content_type = request_header(request.scope, b"content-type") or ""
    if len(content_type) > _LONGEST_TYPE:
        raise UnsupportedMediaType("The Content-Type is longer than any that is read.")
    kind = parse_options_header(content_type)[0].decode("latin-1").lower()
    return kind, _counted(request, max_bytes, get_state(request).settings.read_timeout_s)


async def read_all(body: AsyncGenerator[bytes, None]) -> bytes:
    """All of a body."""
    chunks = [chunk async for chunk in body]
    return await asyncio.to_thread(b"".join, chunks) if len(chunks) > _MANY_CHUNKS else b"".join(chunks)


async def _counted(request: Request, max_bytes: int, timeout_s: float) -> AsyncGenerator[bytes, None]:
    share: MemoryLease = request.state.share
    now, count, is_more = asyncio.get_running_loop().time, 0, True
    until = now() + timeout_s
    while is_more:
        try:
            async with asyncio.timeout_at(until):
                message = await request.receive()  # and not request.stream(), which takes three turns for one message
        except TimeoutError as error:
            raise BodyTimeout(f"The body came too slowly: {count:,} bytes, then nothing more in time.") from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, is_more = message.get("body", b""), message.get("more_body", False)
        count += len(chunk)
        until = min(until + len(chunk) / MIN_BYTES_PER_S, now() + timeout_s)  # who was fast may not rest on it
        if count > max_bytes:
            raise too_large(max_bytes)
        share.acquire(len(chunk))
        yield chunk
    if not count:
        raise EmptyBody("The request has no body. Send an image: curl -F file=@photo.jpg URL")


def too_large(max_bytes: int) -> BodyTooLarge:
    """The error of a body that is larger than `max_bytes`."""
    return BodyTooLarge(f"The body is larger than the limit of {max_bytes:,} bytes. Send less.")
