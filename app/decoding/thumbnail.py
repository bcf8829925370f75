"""Thumbnails of uploaded images, in a format that every browser shows."""

from __future__ import annotations

import asyncio
import base64

from app.decoding.decoder import ImageDecoder
from app.decoding.job import DecodeJob, RequestKey
from app.errors import Overloaded
from models.decoding.limits import Limits
from models.decoding.protocol import DecodeRequest, ResponseHeader

_PAGE_SIDE = 480
"""Maximum side on the page, in pixels."""


async def thumbnail(decoder: ImageDecoder, image: bytes, side: int, limits: Limits) -> bytes:
    """Return an encoded image as an upright JPEG of at most `side` pixels a side.

    Raises:
        ImageError: the image is invalid.
        Overloaded: the image is large, and too many others are decoded before it.
        BatcherClosed: the server is shutting down.
    """
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def deliver(_: ResponseHeader, jpeg: bytes) -> None:
        if not done.done():  # it is done if the caller was just cancelled
            done.set_result(jpeg)

    def fail(error: BaseException) -> None:
        if not done.done():
            done.set_exception(error)

    job = DecodeJob(RequestKey(), DecodeRequest((), limits, thumbnail_side=side), image, deliver, fail)
    try:
        decoder.submit(job)
        return await done
    finally:
        if job.is_active:
            decoder.cancel(job)


async def data_uri(image: bytes, limits: Limits, decoder: ImageDecoder) -> str | None:
    """Return an encoded image as the data URI of a thumbnail, or None if it is large and too many wait already.

    Raises:
        ImageError: the image is invalid.
    """
    try:
        jpeg = await thumbnail(decoder, image, _PAGE_SIDE, limits)
    except Overloaded:
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
