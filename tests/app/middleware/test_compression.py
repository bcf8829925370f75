"""Which responses are compressed, and how."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Mapping

import httpx
import pytest
from starlette.middleware import gzip as starlette_gzip
from starlette.responses import Response

from app.middleware.compression import CompressionMiddleware

pytestmark = pytest.mark.anyio

TEXT = b"".join(b"%d little endian values; " % number for number in range(4000))
PACKETS = 2000


async def raw_response(body: bytes, media_type: str, accept: str) -> tuple[Mapping[str, str], bytes]:
    """Return the headers and the body, as sent, of an app that responds with this body."""
    transport = httpx.ASGITransport(CompressionMiddleware(Response(body, media_type=media_type)))
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        client.stream("GET", "/", headers={"Accept-Encoding": accept}) as response,
    ):
        return response.headers, b"".join([piece async for piece in response.aiter_raw()])


@pytest.mark.parametrize("accept", ["gzip", "gzip;q=0.1", "deflate, gzip"])
async def test_response_of_2000_bytes_or_more_is_compressed(accept: str) -> None:
    for size, is_compressed in ((PACKETS - 1, False), (PACKETS, True)):
        headers, sent = await raw_response(TEXT[:size], "text/plain", accept)
        assert (headers.get("Content-Encoding") == "gzip") is is_compressed
        assert (gzip.decompress(sent) if is_compressed else sent) == TEXT[:size]
        assert headers["Content-Length"] == str(len(sent))


@pytest.mark.parametrize("accept", ["", "gzip;q=0", "x-gzip", "br", "gzip;q=high"])
async def test_response_is_not_compressed_unless_the_client_accepts_it(accept: str) -> None:
    headers, sent = await raw_response(TEXT, "text/plain", accept)
    assert ("Content-Encoding" in headers, sent) == (False, TEXT)


@pytest.mark.parametrize(
    "media_type", ["application/octet-stream", "application/x-npy", "image/jpeg", "image/png", "application/zip"]
)
async def test_what_does_not_become_smaller_is_not_compressed(media_type: str) -> None:
    headers, sent = await raw_response(TEXT, media_type, "gzip")
    assert ("Content-Encoding" in headers, sent) == (False, TEXT)


async def test_responses_are_compressed_at_level_4() -> None:
    def compressed(level: int) -> bytes:
        compressor = zlib.compressobj(level, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return compressor.compress(TEXT) + compressor.flush()

    _, sent = await raw_response(TEXT, "text/plain", "gzip")
    assert sent == compressed(4)
    assert all(sent != compressed(level) for level in (1, 2, 3, 6, 9))


@pytest.mark.parametrize(("size", "is_in_thread"), [(32 * 1024 - 1, False), (32 * 1024, True)])
async def test_only_responses_of_32_kib_or_more_are_compressed_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, size: int, is_in_thread: bool
) -> None:
    compress, threads = starlette_gzip.GZipResponder._compress_body, list[threading.Thread]()

    def note_thread(self: starlette_gzip.GZipResponder, body: bytes, more_body: bool) -> bytes:
        threads.append(threading.current_thread())
        return compress(self, body, more_body)

    monkeypatch.setattr(starlette_gzip.GZipResponder, "_compress_body", note_thread)
    _, sent = await raw_response(TEXT[:size], "text/plain", "gzip")
    assert gzip.decompress(sent) == TEXT[:size]
    assert [thread is not threading.current_thread() for thread in threads] == [is_in_thread]
