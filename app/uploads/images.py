"""Read several images from a request body.

multipart/form-data    all files of the form, whatever the names of their fields; a zip stands for the images in it
application/zip        the images in the archive
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from app.errors import MalformedBody, MissingField, TooManyImages, UnsupportedMediaType
from app.parameter_names import check_form_fields
from app.settings import Settings
from app.uploads.body import media_type, open_body, read_all, too_large
from app.uploads.budget import MemoryLease
from app.uploads.multipart import BoundedMultiPartParser, file_parts, read_part
from app.uploads.zips import extract_images

_ZIP_TYPES = ("application/zip", "application/x-zip-compressed")
_ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
R = TypeVar("R")
_MAX_NAME = 255  # characters
_ADVICE = "Send images as fields of a form, or as a zip: curl -F files=@a.jpg -F files=@b.jpg URL"


@dataclass(frozen=True)
class NamedImage:
    """An encoded image and its file name, or the error of a file that could not be extracted from a zip."""

    name: str
    data: bytes | MalformedBody


@dataclass(frozen=True)
class BatchUpload:
    """Several named images."""

    named: tuple[NamedImage, ...]

    @property
    def images(self) -> list[bytes]:
        """The encoded images, in their order, without those that could not be extracted."""
        return [image.data for image in self.named if isinstance(image.data, bytes)]

    def merge(self, results: Iterable[R]) -> Iterator[tuple[str, R | MalformedBody]]:
        """Yield name and result of each file, given the results of `images`; or its error."""
        remaining = iter(results)
        for image in self.named:
            yield image.name, next(remaining) if isinstance(image.data, bytes) else image.data


async def read_images(request: Request, lease: MemoryLease, settings: Settings) -> BatchUpload:
    """Read images from a request body: the files of a form, or a zip.

    Raises:
        BodyTooLarge, TooManyImages: the request exceeds a limit.
        UnsupportedMediaType: the Content-Type is neither a form nor a zip.
        EmptyBody, BodyTimeout, MalformedBody, MissingField: the body is not what its Content-Type says.
        Overloaded: the memory for bodies is exhausted.
        ClientDisconnect: the client disconnected.
    """
    content_type = media_type(request)
    body = open_body(request, lease, settings.max_batch_request_bytes, settings.read_timeout_s)
    if content_type in _ZIP_TYPES:
        files = [NamedImage("", await read_all(body))]
    elif content_type == "multipart/form-data":
        files = await _form_files(request, body, settings)
    else:
        raise UnsupportedMediaType(f"{_ADVICE}; a zip needs -H 'Content-Type: application/zip'")
    images = await _unpack_zips(files, lease, settings)
    if not images:
        raise MissingField(f"The request has no image. {_ADVICE}")
    return BatchUpload(tuple(images))


async def _form_files(request: Request, body: AsyncGenerator[bytes, None], settings: Settings) -> list[NamedImage]:
    parser = BoundedMultiPartParser(request.headers, body, settings.max_batch_request_bytes, settings.max_images)
    try:
        form = await parser.parse_form()
    except MalformedBody as error:
        if parser.has_too_many_files:
            raise TooManyImages(settings.max_images) from error
        raise
    try:
        check_form_fields(name for name, value in form.multi_items() if isinstance(value, str))
        files = []
        for _, part in file_parts(form):
            files.append(_named(part.filename or "", await read_part(part)))
            await asyncio.sleep(0)  # let other requests run
        return files
    finally:
        await form.close()


async def _unpack_zips(files: list[NamedImage], lease: MemoryLease, settings: Settings) -> list[NamedImage]:
    """Replace each zip by the images in it; the limits hold for all files together."""
    images: list[NamedImage] = []
    bytes_left = settings.max_batch_request_bytes
    for file in files:
        if isinstance(file.data, bytes) and file.data.startswith(_ZIP_SIGNATURES):
            max_images = settings.max_images - len(images)
            extracted = await asyncio.to_thread(
                extract_images, file.data, max_images, settings.max_body_bytes, bytes_left, lease.acquire
            )
            images += [_named(name, data) for name, data in extracted]
            bytes_left -= sum(len(data) for _, data in extracted if isinstance(data, bytes))
        else:
            images.append(file)
        if len(images) > settings.max_images:
            raise TooManyImages(settings.max_images)
        if bytes_left < 0:
            raise too_large(settings.max_batch_request_bytes)
    return images


def _named(name: str, data: bytes | MalformedBody) -> NamedImage:
    """Shorten a name and replace characters that cannot be encoded in the response."""
    return NamedImage(name.encode("utf-8", "replace").decode()[:_MAX_NAME], data)
