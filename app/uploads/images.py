"""Read several images from a request body.

multipart/form-data    all files of the form, whatever the names of their fields; a zip stands for the images in it
application/zip        the images in the archive
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from app.errors import MalformedBody, MissingField, TooManyImages, UnsupportedMediaType
from app.parameter_names import check_form_fields
from app.settings import Settings
from app.uploads.archive_threads import ArchiveThreads
from app.uploads.body import media_type, open_body, read_all, too_large
from app.uploads.budget import MemoryLease
from app.uploads.multipart import BoundedMultiPartParser, file_parts, read_part
from app.uploads.zips import check_directories, extract_images

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


async def read_files(request: Request, lease: MemoryLease, settings: Settings) -> list[NamedImage]:
    """Read the files of a form, or a zip, from a request body; see `unpack_zips`.

    Raises:
        BodyTooLarge, TooManyImages: the request exceeds a limit.
        UnsupportedMediaType: the Content-Type is neither a form nor a zip.
        EmptyBody, BodyTimeout, MalformedBody: the body is not what its Content-Type says.
        Overloaded: the memory for bodies is exhausted.
        ClientDisconnect: the client disconnected.
    """
    content_type = media_type(request)
    body = open_body(request, lease, settings.max_batch_request_bytes, settings.read_timeout_s)
    if content_type in _ZIP_TYPES:
        return [NamedImage("", await read_all(body))]
    if content_type == "multipart/form-data":
        return await _form_files(request, body, settings)
    raise UnsupportedMediaType(f"{_ADVICE}; a zip needs -H 'Content-Type: application/zip'")


async def unpack_zips(
    files: Sequence[NamedImage], lease: MemoryLease, settings: Settings, threads: ArchiveThreads
) -> BatchUpload:
    """Replace each zip among the files of a request by the images in it; the limits hold for all files together.

    Raises:
        BodyTooLarge, TooManyImages: the unpacked images exceed a limit.
        MalformedBody, MissingField: a zip is damaged, or there is no image.
        Overloaded: the memory for bodies is exhausted, or too many requests unpack zips.
    """
    if any(map(_zip_of, files)):
        with threads.admit():
            images = await threads.collect(_unpack_all(files, lease, settings))
    else:
        images = list(files)
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


def _unpack_all(files: Sequence[NamedImage], lease: MemoryLease, settings: Settings) -> Iterator[NamedImage]:
    """Yield the images of all files in their order, after the directories of all zips have been checked."""
    check_directories(filter(None, map(_zip_of, files)), settings.max_images)
    images_left, bytes_left = settings.max_images, settings.max_batch_request_bytes
    for file in files:
        data = _zip_of(file)
        images: Iterable[NamedImage] = [file]
        if data:
            extracted = extract_images(data, images_left, settings.max_body_bytes, bytes_left, lease.acquire)
            images = (_named(name, content) for name, content in extracted)
        for image in images:
            images_left -= 1
            if images_left < 0:
                raise TooManyImages(settings.max_images)
            if data and isinstance(image.data, bytes):
                bytes_left -= len(image.data)
            if bytes_left < 0:
                raise too_large(settings.max_batch_request_bytes)
            yield image


def _zip_of(file: NamedImage) -> bytes | None:
    """Return the archive that a file is; None if it is an image."""
    return file.data if isinstance(file.data, bytes) and file.data.startswith(_ZIP_SIGNATURES) else None


def _named(name: str, data: bytes | MalformedBody) -> NamedImage:
    """Shorten a name and replace characters that cannot be encoded in the response."""
    return NamedImage(name.encode("utf-8", "replace").decode()[:_MAX_NAME], data)
