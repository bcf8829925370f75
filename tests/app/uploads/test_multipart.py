"""Forms at their limits."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.datastructures import FormData, Headers

from app.errors import MalformedBody
from app.uploads.multipart import BoundedMultiPartParser, LeadingField, file_parts, read_part

pytestmark = pytest.mark.anyio

MAX_TEXT_FIELDS, MAX_TEXT_BYTES, MAX_DISPOSITION_BYTES = 16, 64 * 1024, 1500
LEADING_BYTES = 16 * 1024
END = b"--b--\r\n"


def part(content: bytes, disposition: str = 'form-data; name="f"', *headers: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: {disposition}", *headers])
    return f"--b\r\n{head}\r\n\r\n".encode() + content + b"\r\n"


FILE = part(b"image", 'form-data; name="f"; filename="a"')


def parser(
    body: bytes, *, max_files: int = 2, chunk: int = 10**9, leading: LeadingField | None = None
) -> BoundedMultiPartParser:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), chunk):
            yield body[start : start + chunk]

    headers = Headers({"Content-Type": "multipart/form-data; boundary=b"})
    return BoundedMultiPartParser(headers, chunks(), 10**6, max_files, leading)


@asynccontextmanager
async def parsed(form_parser: BoundedMultiPartParser) -> AsyncIterator[FormData]:
    form = await form_parser.parse_form()
    try:
        yield form
    finally:
        await form.close()


async def is_accepted(body: bytes, *, max_files: int = 2) -> bool:
    try:
        async with parsed(parser(body, max_files=max_files)):
            return True
    except MalformedBody:
        return False


@pytest.mark.parametrize(
    ("at_the_limit", "beyond"),
    [
        (FILE * 2, FILE * 3),
        (part(b"text") * MAX_TEXT_FIELDS, part(b"text") * (MAX_TEXT_FIELDS + 1)),
        (part(bytes(MAX_TEXT_BYTES)), part(bytes(MAX_TEXT_BYTES + 1))),
        (
            part(b"", 'form-data; name="f"; filename="'.ljust(MAX_DISPOSITION_BYTES - 1, "a") + '"'),
            part(b"", 'form-data; name="f"; filename="'.ljust(MAX_DISPOSITION_BYTES, "a") + '"'),
        ),
    ],
    ids=["files", "text fields", "bytes of a text", "disposition"],
)
async def test_form_may_reach_its_limits(at_the_limit: bytes, beyond: bytes) -> None:
    assert await is_accepted(at_the_limit + END)
    assert not await is_accepted(beyond + END)


async def test_number_of_files_beyond_the_limit_is_known() -> None:
    for count, has_too_many in ((2, False), (3, True)):
        form = parser(FILE * count + END)
        with suppress(MalformedBody):
            async with parsed(form):
                assert not has_too_many
        assert form.has_too_many_files == has_too_many


async def test_what_is_neither_file_nor_text_may_take_a_kilobyte_for_each_part() -> None:
    max_files = 2
    allowed = (max_files + MAX_TEXT_FIELDS) * 1024
    for epilogue, is_valid in ((allowed - len(END), True), (allowed - len(END) + 1, False)):
        assert await is_accepted(END + b"e" * epilogue, max_files=max_files) == is_valid


async def test_boundary_may_occur_once_for_each_part_and_at_the_end() -> None:
    allowed = 2 + MAX_TEXT_FIELDS + 1
    for count, is_valid in ((allowed, True), (allowed + 1, False)):
        assert await is_accepted(FILE + END + b"\r\n--b" * (count - 1)) == is_valid


async def test_form_must_reach_its_closing_boundary() -> None:
    assert await is_accepted(FILE + b"--b--")
    for end in (b"", b"--b", b"--b-"):
        assert not await is_accepted(FILE + end)


@pytest.mark.parametrize("chunk", [1, 7, 100, 20_000])
async def test_form_is_the_same_in_chunks_of_any_size(chunk: int) -> None:
    content = bytes(range(256)) * 200
    body = part(b"text") + part(content, 'form-data; name="g"; filename="a"') + END
    async with parsed(parser(body, chunk=chunk)) as form:
        assert form["f"] == "text"
        ((name, file),) = file_parts(form)
        assert (name, await read_part(file)) == ("g", content)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (part(b"secret", 'form-data; name="key"') + FILE, "secret"),
        (part(b"text") + part(b"secret", 'form-data; name="key"') + FILE, "secret"),
        (FILE + part(b"secret", 'form-data; name="key"'), None),
        (part(b"text"), None),
        (part(bytes(LEADING_BYTES)) + part(b"secret", 'form-data; name="key"'), None),
        (part(bytes(LEADING_BYTES - 300)) + part(b"secret", 'form-data; name="key"'), "secret"),
    ],
    ids=["first", "behind a text", "behind a file", "absent", "behind 16 kB", "within 16 kB"],
)
async def test_leading_field_is_checked_once(body: bytes, value: str | None) -> None:
    values = list[str | None]()

    async def check(found: str | None) -> None:
        values.append(found)

    async with parsed(parser(body + END, leading=LeadingField("key", check))):
        pass
    assert values == [value]
