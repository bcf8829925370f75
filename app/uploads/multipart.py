"""multipart/form-data -> its fields, within bounds on everything that a form is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import MalformedBody

_MAX_PARTS = 16
_MAX_TEXT_BYTES = 64 * 1024
_MAX_OVERHEAD_BYTES = 1024
_PIECE = 16 * 1024
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252", "cp1252"})
"""By their spelling, since Python remembers every name that a codec was looked up by, for ever."""


class BoundedMultiPartParser(MultiPartParser):
    """Starlette's parser, kept in memory, strict about the closing boundary, and bounded.

    python-multipart goes through boundaries, and what only looks like one, byte by byte in Python: megabytes of them
    would take seconds of the event loop. What is neither file nor text (preamble, part headers, padding, epilogue) may
    have a kilobyte for each part that is allowed, and the boundary may occur as often as there may be parts. A part
    has at most 8 headers, each of up to 4 KB (python-multipart's own limits, since 0.0.27).

    Starlette would decode names and texts by any codec of Python's that the client names, on the event loop; some take
    time that grows with the square of the text.
    """

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
        self.spool_max_size = max_bytes + 1  # never on disk
        options = parse_options_header(headers["content-type"])[1]
        self._delimiter = b"\r\n--" + options.get(b"boundary", b"")
        self._charset_named = options.get(b"charset", b"utf-8").decode("latin-1").lower()
        self._max_parts = max_files + _MAX_PARTS
        self._content = 0
        self._complete = False

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += end - start
        super().on_part_data(data, start, end)

    def on_end(self) -> None:
        self._complete = True

    async def _checked(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        received = delimiters = 0
        async for chunk in body:
            for begin in range(0, len(chunk), _PIECE):
                piece = chunk[begin : begin + _PIECE]
                yield piece
                received += len(piece)
                delimiters += piece.count(self._delimiter)
                if delimiters > self._max_parts + 1:
                    raise MultiPartException("its boundary occurs too often")
                if received - self._content > self._max_parts * _MAX_OVERHEAD_BYTES:
                    raise MultiPartException("there is too much around its files")
                await asyncio.sleep(0)  # others have their turn
        if not self._complete:
            raise MultiPartException("it ends before its closing boundary")

    @property
    def has_too_many_files(self) -> bool:
        """Whether that is why it could not be read."""
        return self._current_files > self.max_files

    async def parse_form(self) -> FormData:
        """The form; raises BrokenBody, BodyTooLarge, SlowBody, EmptyBody."""
        if self._charset_named not in _CHARSETS:
            raise MalformedBody("The multipart body cannot be read: its charset is none that is read here. Send UTF-8.")
        try:
            return await self.parse()
        except MultiPartException as error:
            raise MalformedBody(f"The multipart body cannot be read: {error.message.rstrip('.')}.") from error
