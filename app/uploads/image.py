"""Read one image from a request body, in any of three forms.

multipart/form-data                 the only file of the form
image/*, application/octet-stream   the body itself; also without a Content-Type
application/json                    {"image": base64 or data URI}
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData

from app.base64_images import decode_base64
from app.errors import BadParameter, MalformedBody, MissingField, UnsupportedMediaType
from app.parameter_names import check_form_fields, check_json_keys
from app.settings import Settings
from app.threads import run_in_request_thread
from app.uploads.body import media_type, open_body, read_all
from app.uploads.budget import MemoryLease
from app.uploads.multipart import BoundedMultiPartParser, LeadingField, file_parts, read_part

_BINARY_TYPES = ("", "application/octet-stream")
_BASE64_RATIO = 4 / 3 * 78 / 76  # in lines of 76 characters that end with CRLF
_MAX_OVERHEAD_BYTES = 1_200_000  # of a form: 16 text fields of 64 KiB, and a kilobyte for each part
_MAX_JSON_VALUES = 1000
_SCAN_BYTES = 64 * 1024


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


async def read_image(
    request: Request,
    lease: MemoryLease,
    settings: Settings,
    parameter_fields: Collection[str] = (),
    leading_field: LeadingField | None = None,
) -> Upload:
    """Read the image from a request body.

    Args:
        request: the request.
        lease: counts the bytes of the body.
        settings: limits.
        parameter_fields: text fields of a form that the caller reads as parameters; others that look like one are an
            error.
        leading_field: text field that must precede the file of a form.

    Raises:
        BodyTooLarge: the body exceeds the limit; before reading it where Content-Length says so.
        UnsupportedMediaType: the Content-Type is not one of the three forms.
        EmptyBody, BodyTimeout, MalformedBody, MissingField: the body is not what its Content-Type says.
        BadParameter: the body has several images, or parameters that would be ignored.
        Overloaded: the memory for bodies is exhausted.
        ClientDisconnect: the client disconnected.
    """
    content_type = media_type(request)
    is_form, is_json = content_type == "multipart/form-data", content_type == "application/json"
    if not (is_form or is_json or content_type in _BINARY_TYPES or content_type.startswith("image/")):
        raise UnsupportedMediaType(_advice(content_type))
    max_bytes = settings.max_body_bytes
    if is_form or is_json:  # the limit is that of the image, not of its encoding
        max_bytes = math.ceil(max_bytes * _BASE64_RATIO) + _MAX_OVERHEAD_BYTES
    body = open_body(request, lease, max_bytes, settings.read_timeout_s)
    if is_form:
        parser = BoundedMultiPartParser(request.headers, body, max_bytes, leading_field=leading_field)
        return await _from_multipart(parser, parameter_fields)
    content = await read_all(body)
    return Upload(await run_in_request_thread(_from_json, content) if is_json else content)


async def _from_multipart(parser: BoundedMultiPartParser, parameter_fields: Collection[str]) -> Upload:
    form = await parser.parse_form()
    try:
        return await _from_form(form, parameter_fields)
    finally:
        await form.close()


async def _from_form(form: FormData, parameter_fields: Collection[str]) -> Upload:
    """Return the only file of a form, whatever the name of its field."""
    fields = tuple((name, value) for name, value in form.multi_items() if isinstance(value, str))
    check_form_fields(name for name, _ in fields if name not in parameter_fields)
    files = file_parts(form)
    if len(files) > 1:
        names = ", ".join(repr(name[:40]) for name, _ in files)
        raise BadParameter(
            f"The form has {len(files)} files ({names}), but this path reads one image. "
            "Send them one by one, or all to /v1/classify/batch."
        )
    if not files:
        raise MissingField(f"{_found([name for name, _ in fields])} With curl: -F file=@photo.jpg")
    return Upload(await read_part(files[0][1]), fields)


def _found(text_fields: Sequence[str]) -> str:
    if not text_fields:
        return "The form has no file."
    return f"The form has no file, but text in {', '.join(repr(name[:40]) for name in text_fields)}."


def _from_json(body: bytes) -> bytes:
    _limit_json_values(body)
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is not valid JSON.") from error
    image = document.get("image") if isinstance(document, dict) else None
    if not isinstance(image, str):
        raise MissingField('The JSON has no image. Send {"image": "BASE64"} or a data URI.')
    check_json_keys(document, ("image",))
    return decode_base64(image)


def _limit_json_values(body: bytes) -> None:
    """Reject JSON of many values before parsing it: building millions of objects would block the whole process."""
    values = 0
    for begin in range(0, len(body), _SCAN_BYTES):
        part = body[begin : begin + _SCAN_BYTES]
        values += sum(map(part.count, (b"[", b"{", b",")))
        if values > _MAX_JSON_VALUES:
            raise MalformedBody(f'The JSON has more than {_MAX_JSON_VALUES:,} values. Send {{"image": "BASE64"}}.')


def _advice(media_type: str) -> str:
    if media_type == "application/x-www-form-urlencoded":
        return (
            "This form cannot carry a file. With curl: -F file=@photo.jpg, or --data-binary @photo.jpg (not -d) with "
            "-H 'Content-Type: image/jpeg'"
        )
    return f"Unsupported Content-Type {media_type!r}. Send image/jpeg, multipart/form-data or application/json."
