"""A request's body -> bytes or a form, counted as it arrives.

Nothing larger than the limit is ever held, and nothing goes to disk.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import BodyTooLarge, BrokenBody, EmptyBody

_NUMBER = re.compile(r"[0-9]{1,15}")
_MANY_CHUNKS = 16  # of 64 KiB: more than a megabyte takes longer than the event loop may stand still
_MAX_PARTS = 16
_MAX_TEXT_BYTES = 64 * 1024


def opened(request: Request, max_bytes: int) -> tuple[str, AsyncGenerator[bytes, None]]:
    """The Content-Type, in lower case and without parameters, and the body, to be read once.

    Raises:
        BodyTooLarge: more than `max_bytes`; at once where Content-Length tells, otherwise while it is read.
        EmptyBody, ClientDisconnect: while it is read.
    """
    declared = request.headers.get("content-length", "")
    if _NUMBER.fullmatch(declared) and int(declared) > max_bytes:
        raise too_large(max_bytes)
    kind = parse_options_header(request.headers.get("content-type"))[0].decode("latin-1").lower()
    return kind, _counted(request, max_bytes)


async def whole(body: AsyncGenerator[bytes, None]) -> bytes:
    """All of a body."""
    chunks = [chunk async for chunk in body]
    return await asyncio.to_thread(b"".join, chunks) if len(chunks) > _MANY_CHUNKS else b"".join(chunks)


class Parser(MultiPartParser):
    """Starlette's parser, kept in memory, and strict about the closing boundary."""

    def __init__(
        self, headers: Headers, body: AsyncGenerator[bytes, None], max_bytes: int, max_files: int = _MAX_PARTS
    ) -> None:
        """Prepare to read a form of at most `max_files` files."""
        super().__init__(
            headers,
            self._checked(body),
            max_files=max_files,
            max_fields=_MAX_PARTS,
            max_part_size=_MAX_TEXT_BYTES,
        )
        self.spool_max_size = max_bytes + 1
        self._complete = False

    def on_end(self) -> None:
        self._complete = True

    async def _checked(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in body:
            yield chunk
        if not self._complete:
            raise MultiPartException("it ends before its closing boundary")

    @property
    def has_too_many_files(self) -> bool:
        """Whether that is why it could not be read."""
        return self._current_files > self.max_files

    async def parsed(self) -> FormData:
        """The form; raises BrokenBody, BodyTooLarge, EmptyBody."""
        try:
            return await self.parse()
        except MultiPartException as error:
            raise BrokenBody(f"The multipart body cannot be read: {error.message.rstrip('.')}.") from error
        except UnicodeError as error:  # the client chooses the charset, and some cannot decode
            raise BrokenBody("The multipart body cannot be read: its charset does not fit its text.") from error


async def _counted(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > max_bytes:
            raise too_large(max_bytes)
        yield chunk
    if not count:
        raise EmptyBody("The request has no body. Send an image: curl -F file=@photo.jpg URL")


def too_large(max_bytes: int) -> BodyTooLarge:
    """The error of a body that is larger than `max_bytes`."""
    return BodyTooLarge(f"The body is larger than the limit of {max_bytes:,} bytes. Send less.")
