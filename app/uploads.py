"""A request's body -> the bytes of an image, in each of the three forms.

    multipart/form-data                 the field `file` (or `data`)
    image/*, application/octet-stream   the body itself; so is a body without a Content-Type
    application/json                    {"image": base64 or data URI}

Bytes are counted as they arrive, so nothing larger than the limit is ever held, and nothing goes to disk.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import BodyTooLarge, BrokenBody, EmptyBody, MissingField, UnsupportedType

FILE_FIELDS = ("file", "data")
_MAX_PARTS = 16
_MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Upload:
    """An image as it was sent, and the text fields that came with it, in their order."""

    image: bytes
    fields: tuple[tuple[str, str], ...] = ()

    def all(self, name: str) -> list[str]:
        """Every value of a text field."""
        return [value for field, value in self.fields if field == name]


async def read(request: Request, max_bytes: int) -> Upload:
    """Read the image out of a request's body.

    Raises:
        BodyTooLarge: more than `max_bytes`, said before the body is read where Content-Length tells.
        UnsupportedType: the Content-Type carries no image.
        EmptyBody, BrokenBody, MissingField: the body is not what it should be.
        ClientDisconnect: the client went away.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    body = _counted(request, max_bytes)
    kind = parse_options_header(request.headers.get("content-type"))[0].decode("latin-1").lower()
    if kind == "multipart/form-data":
        return await _from_multipart(request, body, max_bytes)
    if kind == "application/json":
        return Upload(await asyncio.to_thread(_from_json, await _whole(body)))
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        return Upload(await _whole(body))
    raise UnsupportedType(_advice(kind))


async def _counted(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > max_bytes:
            raise _too_large(max_bytes)
        yield chunk
    if not count:
        raise EmptyBody("The request has no body. Send the bytes of an image: curl -F file=@photo.jpg URL")


async def _whole(body: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([chunk async for chunk in body])


class _Parser(MultiPartParser):
    """Starlette's parser, kept in memory, and strict about the closing boundary."""

    def __init__(self, headers: Headers, body: AsyncGenerator[bytes, None], max_bytes: int) -> None:
        super().__init__(
            headers,
            self._checked(body),
            max_files=_MAX_PARTS,
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


async def _from_multipart(request: Request, body: AsyncGenerator[bytes, None], max_bytes: int) -> Upload:
    try:
        form = await _Parser(request.headers, body, max_bytes).parse()
    except MultiPartException as error:
        raise BrokenBody(f"The multipart body cannot be read: {error.message.rstrip('.')}.") from error
    except UnicodeError as error:  # the client chooses the charset, and some cannot decode
        raise BrokenBody("The multipart body cannot be read: its charset does not fit its text.") from error
    try:
        return await _file_of(form)
    finally:
        await form.close()


async def _file_of(form: FormData) -> Upload:
    texts = tuple((name, value) for name, value in form.multi_items() if isinstance(value, str))
    for name in FILE_FIELDS:
        part = form.get(name)
        if isinstance(part, UploadFile):
            return Upload(await part.read(), texts)
        if part is not None:
            raise MissingField(f"The field {name!r} holds text, no file. With curl: -F {name}=@photo.jpg")
    raise MissingField("The form has no file in the field 'file'. With curl: -F file=@photo.jpg")


def _from_json(body: bytes) -> bytes:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenBody("The body is no valid JSON.") from error
    image = document.get("image") if isinstance(document, dict) else None
    if not isinstance(image, str):
        raise MissingField('The JSON has no image. Send {"image": "BASE64"}, or a data URI in its place.')
    return _from_base64(image)


def _from_base64(text: str) -> bytes:
    header, comma, payload = text.partition(",") if text.startswith("data:") else ("", ",", text)
    if not comma or (header and not header.endswith(";base64")):
        raise BrokenBody("The data URI is not of the form data:image/jpeg;base64,…")
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BrokenBody("The image is no base64. Send the image itself; addresses are not fetched.") from error


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than the limit of {max_bytes:,} bytes. Send a smaller image.")


def _advice(kind: str) -> str:
    if kind == "application/x-www-form-urlencoded":
        return "This is a form without a file. Add -H 'Content-Type: image/jpeg', or send -F file=@photo.jpg"
    return f"Content-Type {kind!r} is not read. Send image/jpeg, multipart/form-data or application/json."
