"""Read one image from a request body, in any of three forms.

multipart/form-data                 the field `file` (or `data`)
image/*, application/octet-stream   the body itself; also without a Content-Type
application/json                    {"image": base64 or data URI}
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
from app.settings import Settings
from app.uploads.body import open_body, read_all
from app.uploads.budget import MemoryLease
from app.uploads.multipart import BoundedMultiPartParser

FILE_FIELDS = ("file", "data")

_MAX_JSON_VALUES = 1000
_SCAN_BYTES = 64 * 1024
_WHITESPACE = b" \t\r\n\f\v"


@dataclass(frozen=True)
class Upload:
    """An encoded image and the text fields of its form, in their order."""

    image: bytes
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def images(self) -> tuple[bytes]:
        """The image as a sequence, as uploads of several images have it."""
        return (self.image,)

    def all(self, name: str) -> list[str]:
        """Return every value of a text field."""
        return [value for field, value in self.fields if field == name]


async def read_image(request: Request, lease: MemoryLease, settings: Settings) -> Upload:
    """Read the image from a request body.

    Raises:
        BodyTooLarge: the body exceeds the limit; before reading it where Content-Length says so.
        UnsupportedMediaType: the Content-Type is not one of the three forms.
        EmptyBody, BodyTimeout, MalformedBody, MissingField: the body is not what its Content-Type says.
        Overloaded: the memory for bodies is exhausted.
        ClientDisconnect: the client disconnected.
    """
    media_type, body = open_body(request, lease, settings.max_body_bytes, settings.read_timeout_s)
    if media_type == "multipart/form-data":
        return await _from_multipart(request, body, settings.max_body_bytes)
    if media_type == "application/json":
        return Upload(await asyncio.to_thread(_from_json, await read_all(body)))
    if media_type in ("", "application/octet-stream") or media_type.startswith("image/"):
        return Upload(await read_all(body))
    raise UnsupportedMediaType(_advice(media_type))


async def _from_multipart(request: Request, body: AsyncGenerator[bytes, None], max_bytes: int) -> Upload:
    form = await BoundedMultiPartParser(request.headers, body, max_bytes).parse_form()
    try:
        return await _from_form(form)
    finally:
        await form.close()


async def _from_form(form: FormData) -> Upload:
    fields = tuple((name, value) for name, value in form.multi_items() if isinstance(value, str))
    for name in FILE_FIELDS:
        part = form.get(name)
        if isinstance(part, UploadFile):
            return Upload(await part.read(), fields)
        if part is not None:
            raise MissingField(f"The field {name!r} holds text instead of a file. With curl: -F {name}=@photo.jpg")
    raise MissingField("The form has no file in the field 'file'. With curl: -F file=@photo.jpg")


def _from_json(body: bytes) -> bytes:
    _limit_json_values(body)
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is not valid JSON.") from error
    image = document.get("image") if isinstance(document, dict) else None
    if not isinstance(image, str):
        raise MissingField('The JSON has no image. Send {"image": "BASE64"} or a data URI.')
    return _from_base64(image)


def _limit_json_values(body: bytes) -> None:
    """Reject JSON of many values before parsing it: building millions of objects would block the whole process."""
    values = 0
    for begin in range(0, len(body), _SCAN_BYTES):
        part = body[begin : begin + _SCAN_BYTES]
        values += sum(map(part.count, (b"[", b"{", b",")))
        if values > _MAX_JSON_VALUES:
            raise MalformedBody(f'The JSON has more than {_MAX_JSON_VALUES:,} values. Send {{"image": "BASE64"}}.')


def _from_base64(text: str) -> bytes:
    header, comma, payload = text.partition(",") if text.startswith("data:") else ("", ",", text)
    if not comma or (header and not header.endswith(";base64")):
        raise MalformedBody("The data URI is malformed. Send data:image/jpeg;base64,...")
    try:
        return base64.b64decode(payload.encode("ascii").translate(None, _WHITESPACE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedBody("The image is not valid base64. Send the image itself; URLs are not fetched.") from error


def _advice(media_type: str) -> str:
    if media_type == "application/x-www-form-urlencoded":
        return "This form cannot carry a file. Add -H 'Content-Type: image/jpeg', or send -F file=@photo.jpg"
    return f"Unsupported Content-Type {media_type!r}. Send image/jpeg, multipart/form-data or application/json."
