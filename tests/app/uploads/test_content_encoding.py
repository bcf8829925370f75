"""Compressed request bodies, and compressed responses."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from app.uploads.content_encoding import decompress
from tests.support.asgi import Serve
from tests.support.batch_requests import image_files
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded("blue", size=(200, 200))
V2 = json.dumps(
    {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [b64encode(IMAGE).decode()]}]}
).encode()


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def gzip_members(data: bytes) -> bytes:
    return gzip.compress(data[:50]) + gzip.compress(data[50:])


CODINGS: dict[str, tuple[str, Any]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip by its old name, in capitals": ("X-GZip", gzip.compress),
    "gzip in two members": ("gzip", gzip_members),
    "deflate": ("deflate", zlib.compress),
    "deflate without the header of zlib": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize(("coding", "compress"), CODINGS.values(), ids=CODINGS.keys())
async def test_compressed_image_is_classified(client: httpx.AsyncClient, coding: str, compress: Any) -> None:
    response = await client.post("/v1/classify", content=compress(IMAGE), headers={"Content-Encoding": coding})
    assert response.status_code == 200, response.text
    assert response.json()["predictions"][0]["label"] == "blue"


@pytest.mark.parametrize("coding", ["gzip", "zlib", "raw"])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 65_700, 131_072, 131_073, 1_000_000])
@pytest.mark.parametrize("chunk", [1, 100, 65_536])
def test_body_of_any_size_is_decompressed_to_its_end(coding: str, size: int, chunk: int) -> None:
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "zlib": zlib.compress,
        "raw": raw_deflate,
    }
    compress = compressors[coding]
    data = bytes(size)  # compresses to less than zlib's input buffer, so that much output waits without input

    async def decompressed() -> bytes:
        pieces = decompress(chunks(compress(data), chunk), "gzip" if coding == "gzip" else "deflate")
        return b"".join([piece async for piece in pieces])

    assert asyncio.run(decompressed()) == data


async def chunks(data: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for begin in range(0, len(data), size):
        yield data[begin : begin + size]


@pytest.mark.parametrize("kind", ["form", "json", "batch", "v2"])
async def test_every_kind_of_body_may_be_compressed(client: httpx.AsyncClient, kind: str) -> None:
    path = {"batch": "/v1/classify/batch", "v2": "/v2/models/colours/infer"}.get(kind, "/v1/classify")
    requests: dict[str, dict[str, Any]] = {
        "form": {"files": {"file": IMAGE}},
        "json": {"json": {"image": b64encode(IMAGE).decode()}},
        "batch": {"files": image_files(IMAGE)},
        "v2": {"content": V2, "headers": {"Content-Type": "application/json"}},
    }
    plain = client.build_request("POST", path, **requests[kind])
    headers = {"Content-Type": plain.headers["Content-Type"], "Content-Encoding": "gzip"}
    response = await client.post(path, content=gzip.compress(plain.read()), headers=headers)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "nonsense"])
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/v2/models/colours/infer"])
async def test_other_encodings_are_named_in_the_error(client: httpx.AsyncClient, coding: str, path: str) -> None:
    headers = {"Content-Encoding": coding}
    if path.endswith("batch"):
        headers["Content-Type"] = "application/zip"
    response = await client.post(path, content=IMAGE, headers=headers)
    assert response.status_code == 415
    assert response.headers["Accept-Encoding"] == "gzip, deflate"
    assert f"Content-Encoding {coding!r}" in response.text.replace('\\"', '"')


@pytest.mark.parametrize(
    "body",
    [IMAGE, gzip.compress(IMAGE)[:-9], gzip.compress(IMAGE) + b"garbage", b"\x1f", gzip.compress(b"") * 10_000],
    ids=["not gzip", "truncated", "garbage behind it", "one byte", "thousands of empty members"],
)
async def test_body_that_is_not_gzip_is_malformed(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/v1/classify", content=body, headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (400, "broken_body")
    assert "gzip" in response.json()["detail"]


async def test_decompressed_empty_body_is_reported(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify", content=gzip.compress(b""), headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["code"]) == (400, "empty_body")


@pytest.mark.parametrize("path", ["/v1/classify", "/v2/models/colours/infer"])
async def test_decompression_bomb_stops_at_the_limit(serve: Serve, path: str) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    async with serve(max_body_bytes=100_000, max_batch_request_bytes=100_000) as client:
        response = await client.post(path, content=bomb, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 413
    assert "100,000" in response.text


@pytest.mark.parametrize(
    ("accept", "is_compressed"),
    [("gzip", True), ("br;q=1.0, gzip;q=0.8", True), ("gzip;q=0", False), ("gzip;q=0.000", False), ("br", False)],
)
async def test_large_response_is_compressed_if_the_client_accepts_it(
    client: httpx.AsyncClient, accept: str, is_compressed: bool
) -> None:
    files = image_files(*[IMAGE] * 20)
    response = await client.post("/v1/classify/batch", files=files, headers={"Accept-Encoding": accept})
    assert len(response.json()["items"]) == 20
    assert (response.headers.get("Content-Encoding") == "gzip") is is_compressed
    if is_compressed:
        assert response.headers["Vary"] == "Accept-Encoding"
        assert int(response.headers["Content-Length"]) < len(response.content) / 2


async def test_small_response_is_not_compressed(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/classify", content=IMAGE, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize(("accept", "is_compressed"), [("gzip", True), ("gzip;q=0", False)])
async def test_api_document_is_compressed(client: httpx.AsyncClient, accept: str, is_compressed: bool) -> None:
    response = await client.get("/openapi.json", headers={"Accept-Encoding": accept})
    assert (response.headers.get("Content-Encoding") == "gzip") is is_compressed
    assert response.json()["openapi"]


async def test_binary_tensors_are_not_compressed(client: httpx.AsyncClient) -> None:
    headers = {"Accept": "application/octet-stream", "Accept-Encoding": "gzip"}
    response = await client.post("/v1/embed", content=IMAGE, headers=headers)
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert "Content-Encoding" not in response.headers
