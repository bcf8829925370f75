"""Parse multipart/form-data within bounds on everything that a form consists of."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from itertools import takewhile

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.base64_images import decode_base64
from app.errors import MalformedBody
from app.threads import run_in_request_thread

_MAX_TEXT_FIELDS = 16
_MAX_TEXT_BYTES = 64 * 1024
_MAX_OVERHEAD_BYTES = 1024  # for each part: boundary, part headers, padding
_MAX_DISPOSITION_BYTES = 1500  # four times a file name of 255 bytes; parsing takes the square of the length
_PIECE_BYTES = 16 * 1024
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252", "cp1252"})
"""Compared by spelling: Python caches every name that a codec was looked up by, so a lookup would leak memory."""

_FILE_TYPES = (b"image/", b"application/octet-stream", b"application/zip", b"application/x-zip-compressed")
_UNENCODED = ("", "7bit", "8bit", "binary")
_MAX_BYTES_ON_LOOP = 1_000_000  # copying more would block the event loop for too long


@dataclass(frozen=True)
class LeadingField:
    """A text field that must precede the files of a form, such as a key, so that it is checked before they are read.

    `check` is called once: with the value as soon as the field has ended, or with None if a file begins, 16 kB pass or
    the form ends without it. Errors that it raises end the reading.
    """

    name: str
    check: Callable[[str | None], Awaitable[None]]


def file_parts(form: FormData) -> list[tuple[str, UploadFile]]:
    """Return the field name and the file of each file part, without the empty ones of file inputs left unfilled."""
    files = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
    return [(name, part) for name, part in files if part.size or part.filename] or files[:1]


async def read_part(part: UploadFile) -> bytes:
    """Read a file, decoded as its Content-Transfer-Encoding says (RFC 2045, 6); raises MalformedBody."""
    encoding = part.headers.get("content-transfer-encoding", "").strip().lower()
    is_large = (part.size or 0) > _MAX_BYTES_ON_LOOP
    content: bytes = await run_in_request_thread(part.file.read) if is_large else part.file.read()
    if encoding in _UNENCODED:
        return content
    if encoding == "base64":
        return await run_in_request_thread(lambda: decode_base64(content.decode("latin-1")))
    if encoding == "quoted-printable":
        return await run_in_request_thread(binascii.a2b_qp, content)
    raise MalformedBody(
        f"The Content-Transfer-Encoding {encoding[:40]!r} of a part is not supported. Send the file as it is, or as "
        "base64."
    )


class BoundedMultiPartParser(MultiPartParser):
    """Starlette's parser, in memory, with bounds, and strict about the closing boundary.

    python-multipart searches for boundaries byte by byte in Python, so megabytes of near-matches would block the event
    loop for seconds. Therefore the boundary may occur once for each allowed part, and everything that is
    neither file nor text (preamble, part headers, padding, epilogue) may take a kilobyte for each allowed part. A part
    has at most 8 headers of 4 KB each (limits of python-multipart since 0.0.27).

    Starlette would decode names and texts with any Python codec that the client names; some take time that grows with
    the square of the length of the text. Only a few charsets are accepted.
    """

    def __init__(
        self,
        headers: Headers,
        body: AsyncGenerator[bytes, None],
        max_bytes: int,
        max_files: int = 16,
        leading_field: LeadingField | None = None,
    ) -> None:
        """Prepare to parse a form of at most `max_files` files and `max_bytes` bytes."""
        super().__init__(
            headers,
            self._bounded(body),
            max_files=max_files,
            max_fields=_MAX_TEXT_FIELDS,
            max_part_size=_MAX_TEXT_BYTES,
        )
        self.spool_max_size = max_bytes + 1  # never on disk
        options = parse_options_header(headers["content-type"])[1]
        self._boundary = options.get(b"boundary", b"")
        self._delimiter = b"\r\n--" + self._boundary
        self._charset_name = options.get(b"charset", b"utf-8").decode("latin-1").lower()
        self._max_parts = max_files + _MAX_TEXT_FIELDS
        self._content_bytes = 0
        self._leading_field = leading_field
        self._is_complete = False

    @property
    def has_too_many_files(self) -> bool:
        """Return True if parsing failed because the form has more than `max_files` files."""
        return self._current_files > self.max_files

    async def parse_form(self) -> FormData:
        """Parse the form; raises MalformedBody, and what reading the body raises."""
        if not self._boundary:
            raise MalformedBody(
                "The Content-Type multipart/form-data has no boundary. Do not set the Content-Type yourself: the HTTP "
                "client sets it, with the boundary, when it builds the form."
            )
        if self._charset_name not in _CHARSETS:
            raise MalformedBody("The charset of the multipart body is not supported. Send UTF-8.")
        try:
            return await self.parse()
        except MultiPartException as error:
            raise MalformedBody(f"The multipart body cannot be parsed: {error.message.rstrip('.')}.") from error

    def on_headers_finished(self) -> None:
        """Take a part with the type of a file as a file, even if it has no file name (some mobile clients)."""
        disposition = self._current_part.content_disposition or b""
        if len(disposition) > _MAX_DISPOSITION_BYTES:
            raise MultiPartException("a Content-Disposition is too long")
        content_type = dict(self._current_part.item_headers).get(b"content-type", b"").strip().lower()
        if content_type.startswith(_FILE_TYPES) and b"filename" not in parse_options_header(disposition)[1]:
            self._current_part.content_disposition = disposition + b'; filename=""'
        super().on_headers_finished()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content_bytes += end - start
        super().on_part_data(data, start, end)

    def on_end(self) -> None:
        self._is_complete = True

    async def _bounded(self, body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        received = delimiters = 0
        async for chunk in body:
            for begin in range(0, len(chunk), _PIECE_BYTES):
                piece = chunk[begin : begin + _PIECE_BYTES]
                yield piece
                received += len(piece)
                await self._check_leading_field(is_overdue=received >= _PIECE_BYTES)
                delimiters += piece.count(self._delimiter)
                if delimiters > self._max_parts + 1:
                    raise MultiPartException("its boundary occurs too often")
                if received - self._content_bytes > self._max_parts * _MAX_OVERHEAD_BYTES:
                    raise MultiPartException("its part headers, preamble or epilogue are too long")
                await asyncio.sleep(0)  # let other requests run
        await self._check_leading_field(is_overdue=True)
        if not self._is_complete:
            raise MultiPartException("it ends before its closing boundary")

    async def _check_leading_field(self, *, is_overdue: bool) -> None:
        field = self._leading_field
        if field is None:
            return
        leading = takewhile(lambda item: isinstance(item[1], str), self.items)
        value = next((str(value) for name, value in leading if name == field.name), None)
        if value is not None or self._current_files or is_overdue:
            self._leading_field = None
            await field.check(value)
