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
from starlette.datastructures import FormData, UploadFile

from app.errors import MalformedBody, MissingField, UnsupportedMediaType
from app.uploads.body import open_body, read_all
from app.uploads.multipart import BoundedMultiPartParser

FILE_FIELDS = ("file", "data")

_MAX_JSON_VALUES = 1000
_PIECE = 64 * 1024
_SPACE = b" \t\r\n\f\v"


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
        EmptyBody, SlowBody, BrokenBody, MissingField: the body is not what it should be.
        Overloaded: it is too much beside other requests.
        ClientDisconnect: the client went away.
    """
    kind, body = open_body(request, max_bytes)
    if kind == "multipart/form-data":
        return await _from_multipart(request, body, max_bytes)
    if kind == "application/json":
        return Upload(await asyncio.to_thread(_from_json, await read_all(body)))
    if kind in ("", "application/octet-stream") or kind.startswith("image/"):
        return Upload(await read_all(body))
    raise UnsupportedMediaType(_advice(kind))


async def _from_multipart(request: Request, body: AsyncGenerator[bytes, None], max_bytes: int) -> Upload:
    form = await BoundedMultiPartParser(request.headers, body, max_bytes).parse_form()
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
    _check_values(body)
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is no valid JSON.") from error
    image = document.get("image") if isinstance(document, dict) else None
    if not isinstance(image, str):
        raise MissingField('The JSON has no image. Send {"image": "BASE64"}, or a data URI in its place.')
    return _from_base64(image)


def _check_values(body: bytes) -> None:
    """An image is one long string, without any of these signs: millions of lists would stop the whole process."""
    values = 0
    for begin in range(0, len(body), _PIECE):
        piece = body[begin : begin + _PIECE]
        values += sum(map(piece.count, (b"[", b"{", b",")))
        if values > _MAX_JSON_VALUES:
            raise MalformedBody("The JSON holds much more than an image.")


def _from_base64(text: str) -> bytes:
    header, comma, payload = text.partition(",") if text.startswith("data:") else ("", ",", text)
    if not comma or (header and not header.endswith(";base64")):
        raise MalformedBody("The data URI is not of the form data:image/jpeg;base64,…")
    try:
        return base64.b64decode(payload.encode("ascii").translate(None, _SPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedBody("The image is no base64. Send the image itself; addresses are not fetched.") from error


def _advice(kind: str) -> str:
    if kind == "application/x-www-form-urlencoded":
        return "This is a form without a file. Add -H 'Content-Type: image/jpeg', or send -F file=@photo.jpg"
    return f"Content-Type {kind!r} is not read. Send image/jpeg, multipart/form-data or application/json."
