"""Limits of the server whose effect would take minutes or gigabytes to test, and the edges of those that do not."""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from app.api.problems import STATUS, retry_after_s
from app.decoding.response_parser import ResponseParser
from app.errors import BadParameter, MalformedBody, Overloaded, RateLimited
from app.parameter_names import parse_query
from app.uploads.content_encoding import decompress
from models.decoding.protocol import RESPONSE_PREFIX
from tests.support.batch_requests import labels, send_batch
from tests.support.encoded_images import encoded

LIMITS = {
    "app.auth.access._REFRESH_S": 1.0,
    "app.auth.keys._KEY_BYTES": 32,
    "app.auth.rate_limits._STORAGE_RETRY_S": 10.0,
    "app.auth.rate_limits._STORAGE_TIMEOUT_S": 0.5,
    "app.batching.scheduler._FADE_INTERVAL_S": 0.1,
    "app.batching.worker.MAX_BATCH_S": 120.0,
    "app.batching.worker.MAX_FAILING_S": 10.0,
    "app.batching.worker.MAX_FAILURES_IN_A_ROW": 16,
    "app.decoding.decoder.MAX_WAITING_REQUESTS": 32,
    "app.decoding.decoder._JOBS_PER_WORKER": 8,
    "app.decoding.fair_queue._MAX_NEW_IN_A_ROW": 4,
    "app.decoding.pool._MAX_FAILED_STARTS": 5,
    "app.decoding.response_timeout.RESPONSE_TIMEOUT_S": 30.0,
    "app.decoding.response_timeout._RECHECK_S": 0.1,
    "app.decoding.thumbnail._PAGE_SIDE": 480,
    "app.decoding.worker_process._DISCONNECT_TIMEOUT_S": 1.0,
    "app.inference.model_loading._MAX_BATCH_CPU": 16,
    "app.inference.model_loading._MAX_BATCH_CPU_LARGE": 8,
    "app.inference.model_loading._MAX_BATCH_GPU": 32,
    "app.inference.model_manager._CLOSE_TIMEOUT_S": 1.0,
    "app.main._KEYLESS_SHARE": 1 / 16,
    "app.middleware.compression._LEVEL": 4,
    "app.middleware.compression._MIN_BYTES_IN_THREAD": 32 * 1024,
    "app.server.connection._MAX_LINGER_BYTES": 128 * 1024**2,
    "app.server.connection._MAX_LINGER_S": 30.0,
    "app.server.http_protocol._SLICE_BYTES": 1024,
    "app.server.listener._BACKLOG": 2048,
    "app.server.request_head.MAX_HEAD_BYTES": 16 * 1024,
    "app.server.protocol_errors._INTERVAL_S": 10.0,
    "app.server.server._GC_THRESHOLD": 10_000,
    "app.server.server._KEEP_ALIVE_S": 75,
    "app.server.server._LAST_REQUESTS_S": 1.0,
    "app.server.server._TICKS_PER_S": 10,
    "app.uploads.archive_threads._MAX_REQUESTS": 64,
    "app.uploads.archive_threads._RETRY_AFTER_S": 1.0,
    "app.uploads.archive_threads._TURN_S": 0.02,
    "app.uploads.body.MIN_BYTES_PER_S": 10_000,
    "app.uploads.body._MAX_CHUNKS_ON_LOOP": 16,
    "app.uploads.body._MAX_CONTENT_TYPE": 1000,
    "app.uploads.image._BASE64_RATIO": 4 / 3 * 78 / 76,
    "app.uploads.image._MAX_OVERHEAD_BYTES": 1_200_000,
    "app.uploads.multipart._MAX_BYTES_ON_LOOP": 1_000_000,
    "app.uploads.zips._MAX_EXPANSION": 1.01,
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_the_chosen_one(name: str) -> None:
    module, _, constant = name.rpartition(".")
    assert getattr(importlib.import_module(module), constant) == LIMITS[name]


@pytest.mark.parametrize(
    ("header", "body", "is_allowed"),
    [
        (64 * 1024, 64 * 1024**2, True),
        (64 * 1024 + 1, 0, False),
        (0, 64 * 1024**2 + 1, False),
    ],
)
def test_response_of_a_decode_worker_may_reach_its_limits(header: int, body: int, is_allowed: bool) -> None:
    prefix = RESPONSE_PREFIX.pack(header, body)
    if is_allowed:
        assert list(ResponseParser().feed(prefix)) == []
    else:
        with pytest.raises(ValueError, match="too long"):
            list(ResponseParser().feed(prefix))


@pytest.mark.parametrize("chunk", [1, 5, 1000])
def test_responses_of_a_decode_worker_are_split_at_their_lengths(chunk: int) -> None:
    parser, received = ResponseParser(), list[tuple[object, bytes]]()
    expected = [({"seconds": 0.5}, b"abc"), ({}, b""), ({"a": "é"}, bytes(300))]
    stream = b""
    for header, body in expected:
        encoded_header = json.dumps(header).encode()
        stream += RESPONSE_PREFIX.pack(len(encoded_header), len(body)) + encoded_header + body
    for start in range(0, len(stream), chunk):
        received += parser.feed(stream[start : start + chunk])
    assert received == expected


@pytest.mark.anyio
@pytest.mark.parametrize(("members", "is_allowed"), [(100, True), (101, False)])
async def test_gzip_may_have_100_members(members: int, is_allowed: bool) -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        yield gzip.compress(b"a") * members

    if is_allowed:
        assert b"".join([piece async for piece in decompress(body(), "gzip")]) == b"a" * members
    else:
        with pytest.raises(MalformedBody):
            [piece async for piece in decompress(body(), "gzip")]


def test_query_may_have_50_separators() -> None:
    with pytest.raises(BadParameter, match="given 51 times"):
        parse_query(b"&".join([b"model=a"] * 51), ["model"])
    with pytest.raises(BadParameter, match="too many"):
        parse_query(b"&".join([b"model=a"] * 52), ["model"])


@pytest.mark.anyio
async def test_file_name_is_shortened_to_255_characters(client: httpx.AsyncClient) -> None:
    response = await send_batch(client, [("files", ("é" * length, encoded())) for length in (255, 256)])
    assert labels(response) == ["red", "red"]
    assert [item["filename"] for item in response.json()["items"]] == ["é" * 255] * 2


@pytest.mark.parametrize(
    ("estimate_s", "expected"), [(-5, 1), (0, 1), (1, 1), (1.1, 2), (59.1, 60), (60, 60), (61, 60)]
)
def test_retry_after_is_rounded_up_to_at_most_a_minute(estimate_s: float, expected: int) -> None:
    assert retry_after_s(Overloaded("", estimate_s)) == expected


def test_retry_after_of_a_rate_limit_is_exact() -> None:
    assert retry_after_s(RateLimited("", 3600, {})) == 3600
    assert retry_after_s() == retry_after_s(ValueError()) == 1


def test_each_error_has_its_status() -> None:
    assert {error.__name__: status for error, status in STATUS.items()} == {
        **dict.fromkeys(("EmptyBody", "MalformedBody", "EmptyImage"), 400),
        "Unauthorized": 401,
        **dict.fromkeys(("Forbidden", "CrossOrigin"), 403),
        "ModelNotFound": 404,
        "BodyTimeout": 408,
        "Conflict": 409,
        **dict.fromkeys(("BodyTooLarge", "TooManyImages", "ImageTooLarge"), 413),
        **dict.fromkeys(("UnsupportedMediaType", "UnsupportedContentEncoding", "UnsupportedImage"), 415),
        "UnknownHost": 421,
        **dict.fromkeys(("MissingField", "BadParameter", "UndecodableImage"), 422),
        **dict.fromkeys(("RateLimited", "ConcurrencyLimited"), 429),
        **dict.fromkeys(
            ("NotReady", "Draining", "WorkerDied", "BatcherClosed", "Overloaded", "DeadlineUnmeetable"), 503
        ),
        "DeadlineExceeded": 504,
    }
