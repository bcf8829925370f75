"""A request's body -> the bytes of several images.

multipart/form-data    repeated fields `files`; one that is a zip stands for the pictures in it
application/zip        the pictures in it
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile

from app.errors import MalformedBody, MissingField, TooManyImages, UnsupportedMediaType
from app.settings import Settings
from app.uploads import zips
from app.uploads.body import open_body, read_all, too_large
from app.uploads.budget import MemoryLease
from app.uploads.multipart import BoundedMultiPartParser

FIELDS = ("files", "file")
_ZIPS = ("application/zip", "application/x-zip-compressed")
_LONGEST_NAME = 255
_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ADVICE = "Send the images as fields of a form, or as a zip: curl -F files=@a.jpg -F files=@b.jpg URL"


@dataclass(frozen=True)
class NamedImage:
    """One of several images, as it was sent."""

    name: str
    data: bytes


def _named(name: str, data: bytes) -> NamedImage:
    """A client can send names that cannot be sent back: cut, and without half characters."""
    return NamedImage(name.encode("utf-8", "replace").decode()[:_LONGEST_NAME], data)


async def read(request: Request, settings: Settings) -> list[NamedImage]:
    """Read the images out of a request's body: repeated fields `files`, or a zip.

    Raises:
        BodyTooLarge, TooManyImages: more than the settings allow.
        UnsupportedType: the Content-Type carries no images.
        EmptyBody, SlowBody, BrokenBody, MissingField: the body is not what it should be.
        Overloaded: it is too much beside other requests.
        ClientDisconnect: the client went away.
    """
    kind, body = open_body(request, settings.max_batch_request_bytes)
    if kind in _ZIPS:
        images = await _unzipped([NamedImage("", await read_all(body))], settings, request.state.share)
    elif kind == "multipart/form-data":
        images = await _unzipped(await _files(request, body, settings), settings, request.state.share)
    else:
        raise UnsupportedMediaType(_ADVICE)
    if not images:
        raise MissingField(f"There is no image in the request. {_ADVICE}")
    return images


async def _files(request: Request, body: AsyncGenerator[bytes, None], settings: Settings) -> list[NamedImage]:
    parser = BoundedMultiPartParser(request.headers, body, settings.max_batch_request_bytes, settings.max_images)
    try:
        form = await parser.parse_form()
    except MalformedBody as error:
        if parser.has_too_many_files:
            raise TooManyImages(settings.max_images) from error
        raise
    try:
        parts = [part for name in FIELDS for part in form.getlist(name) if isinstance(part, UploadFile)]
        return await asyncio.to_thread(lambda: [_named(part.filename or "", part.file.read()) for part in parts])
    finally:
        await form.close()


async def _unzipped(files: list[NamedImage], settings: Settings, share: MemoryLease) -> list[NamedImage]:
    """Files with each zip replaced by the pictures in it; the limits hold for all of them together."""
    images: list[NamedImage] = []
    left = settings.max_batch_request_bytes
    for file in files:
        if file.data.startswith(_MAGIC):
            most = settings.max_images - len(images)
            found = await asyncio.to_thread(
                zips.extract_images, file.data, most, settings.max_body_bytes, left, share.acquire
            )
            images += [_named(name, data) for name, data in found]
            left -= sum(len(data) for _, data in found)
        else:
            images.append(file)
        if len(images) > settings.max_images:
            raise TooManyImages(settings.max_images)
        if left < 0:
            raise too_large(settings.max_batch_request_bytes)
    return images
