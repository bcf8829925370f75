"""Bodies at their limits of bytes and of time, however they arrive."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.errors import BodyTimeout, BodyTooLarge, EmptyBody, Overloaded, UnsupportedMediaType
from app.threads import run_in_request_thread
from app.uploads import body
from app.uploads.body import MIN_BYTES_PER_S, media_type, open_body, read_all
from app.uploads.budget import MemoryBudget, MemoryLease
from tests.support.asgi import Serve, unreadable_body
from tests.support.clocks import Clock

pytestmark = pytest.mark.anyio

LIMIT = 1000
TIMEOUT_S = 20


def request(chunks: Sequence[bytes], **headers: str) -> Request:
    """Return a request whose body arrives in these chunks."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    remaining = iter([*messages[:-1], {**messages[-1], "more_body": False}])

    async def receive() -> Any:
        return next(remaining)

    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": encoded}, receive)


def lease(max_bytes: int = 10**9) -> MemoryLease:
    return MemoryBudget(max_bytes).lease()


@pytest.mark.parametrize("size", [1, 7, 500, 2 * LIMIT])
@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
async def test_body_may_reach_its_limit_and_not_a_byte_more(coding: str, size: int) -> None:
    compressors: dict[str, Callable[[bytes], bytes]] = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}
    compress = compressors[coding]

    def chunked(length: int) -> Request:
        data = compress(bytes(length))
        return request([data[start : start + size] for start in range(0, len(data), size)], content_encoding=coding)

    assert await read_all(open_body(chunked(LIMIT), lease(), LIMIT, TIMEOUT_S)) == bytes(LIMIT)
    with pytest.raises(BodyTooLarge, match="1,000 bytes"):
        await read_all(open_body(chunked(LIMIT + 1), lease(), LIMIT, TIMEOUT_S))


async def test_compressed_body_may_reach_the_limit_too() -> None:
    data = gzip.compress(b"")
    assert len(data) < LIMIT
    for length, is_allowed in ((LIMIT, True), (LIMIT + 1, False)):
        stored = zlib.compress(bytes(length - 11), level=0)
        assert len(stored) == length
        body = open_body(request([stored], content_encoding="deflate"), lease(), LIMIT, TIMEOUT_S)
        if is_allowed:
            assert len(await read_all(body)) == length - 11
        else:
            with pytest.raises(BodyTooLarge):
                await read_all(body)


@pytest.mark.parametrize(("chunks", "is_in_thread"), [(1, False), (16, False), (17, True)])
async def test_body_of_more_than_16_chunks_is_joined_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, chunks: int, is_in_thread: bool
) -> None:
    in_threads = list[object]()

    async def run(function: Callable[..., bytes], *arguments: Any) -> bytes:
        in_threads.append(function)
        return await run_in_request_thread(function, *arguments)

    monkeypatch.setattr(body, "run_in_request_thread", run)
    data = await read_all(open_body(request([b"ab"] * chunks), lease(), LIMIT, TIMEOUT_S))
    assert (data, bool(in_threads)) == (b"ab" * chunks, is_in_thread)


def test_declared_length_may_reach_the_limit_and_is_else_rejected_unread() -> None:
    open_body(request([b""], content_length=str(LIMIT)), lease(), LIMIT, TIMEOUT_S)
    with pytest.raises(BodyTooLarge):
        open_body(request([b""], content_length=str(LIMIT + 1)), lease(), LIMIT, TIMEOUT_S)


@pytest.mark.parametrize("coding", ["", "deflate"])
async def test_every_byte_is_counted_in_the_lease(coding: str) -> None:
    data = zlib.compress(bytes(LIMIT)) if coding else bytes(LIMIT)
    expected = LIMIT + (len(data) if coding else 0)
    budget = MemoryBudget(10**9)
    await read_all(open_body(request([data], content_encoding=coding), budget.lease(), LIMIT, TIMEOUT_S))
    assert budget.used_bytes == expected
    small = MemoryBudget(expected)
    small.lease().acquire(1)
    with pytest.raises(Overloaded):
        await read_all(open_body(request([data], content_encoding=coding), small.lease(), LIMIT, TIMEOUT_S))


async def test_empty_and_interrupted_bodies_are_errors() -> None:
    with pytest.raises(EmptyBody):
        await read_all(open_body(request([b"", b""]), lease(), LIMIT, TIMEOUT_S))
    left = iter([{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(left)

    with pytest.raises(ClientDisconnect):
        await read_all(open_body(Request({"type": "http", "headers": []}, receive), lease(), LIMIT, TIMEOUT_S))


async def read_at(monkeypatch: pytest.MonkeyPatch, arrivals: Sequence[tuple[float, int]]) -> int:
    """Read a body of which so many bytes arrive after each number of seconds; return its size."""
    loop, clock = asyncio.get_running_loop(), Clock(0)
    remaining = iter(arrivals)

    async def receive() -> Any:
        seconds, count = next(remaining, (10.0**9, 0))
        clock.advance(seconds)
        await asyncio.sleep(0)  # a timer that is due ends the wait
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(count), "more_body": count > 0}

    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", clock)
        return len(await read_all(open_body(Request({"type": "http", "headers": []}, receive), lease(), 10**9, 20)))


@pytest.mark.parametrize(
    ("arrivals", "is_in_time"),
    [
        ([(19.9, 1), (0, 0)], True),
        ([(20.1, 1), (0, 0)], False),
        ([(0, 1), (19.9, 1), (0, 0)], True),
        ([(0, 1), (20.1, 1), (0, 0)], False),
        ([*[(19.0, 19 * MIN_BYTES_PER_S)] * 5, (0, 0)], True),
        ([(0, 100 * MIN_BYTES_PER_S), (20.1, 1)], False),
        ([*[(10.0, 9 * MIN_BYTES_PER_S)] * 10, (0, 0)], True),
        ([*[(10.0, 1)] * 2, (1, 1)], False),
        ([*[(10.0, 8 * MIN_BYTES_PER_S)] * 12, (0, 0)], False),
    ],
    ids=[
        *("first byte in time", "first byte late", "pause in time", "long pause", "steady rate"),
        *("fast start earns no longer pause", "slightly slow", "drops of bytes", "slow for too long"),
    ],
)
async def test_time_of_a_body_is_limited_by_pauses_and_by_its_rate(
    monkeypatch: pytest.MonkeyPatch, arrivals: list[tuple[float, int]], is_in_time: bool
) -> None:
    if is_in_time:
        assert await read_at(monkeypatch, arrivals) == sum(count for _, count in arrivals)
    else:
        with pytest.raises(BodyTimeout):
            await read_at(monkeypatch, arrivals)


def test_content_type_may_have_1000_characters() -> None:
    long = "image/png; a=" + "b" * 987
    assert media_type(request([b""], content_type=long)) == "image/png"
    with pytest.raises(UnsupportedMediaType, match="1,000"):
        media_type(request([b""], content_type=f"{long}c"))


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "image/png"])
async def test_body_longer_than_any_image_of_the_limit_is_rejected_unread(serve: Serve, content_type: str) -> None:
    """Base64 and the parts of a form make a body longer than its image."""
    longest = 100_000 if content_type == "image/png" else 100_000 * 78 // 76 * 4 // 3 + 1_300_000
    async with serve(max_body_bytes=100_000) as client:
        headers = {"Content-Type": content_type, "Content-Length": str(longest + 1)}
        response = await client.post("/v1/classify", content=unreadable_body(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
