"""The memory budget that the bodies of all requests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from app.errors import Overloaded
from app.uploads.budget import MemoryBudget
from tests.support.asgi import Serve, app_of
from tests.support.batch_requests import image_files, labels, send_batch, send_zip, zipped
from tests.support.encoded_images import encoded
from tests.support.polling import eventually

MAX_BYTES = 100_000
IMAGE = encoded("red")  # about 8 kB


def test_exhausted_budget_rejects_and_released_bytes_are_available_again() -> None:
    budget = MemoryBudget(100)
    first, second = budget.lease(), budget.lease()
    first.acquire(60)
    second.acquire(40)
    for lease in (first, second):
        with pytest.raises(Overloaded, match="memory for request bodies is exhausted") as error:
            lease.acquire(1)
        assert error.value.retry_after_s == 1
    first.release()
    second.acquire(60)
    assert budget.used_bytes == 100
    second.release()
    assert budget.used_bytes == 0


def test_single_request_may_exceed_the_budget() -> None:
    budget = MemoryBudget(100)
    first, second = budget.lease(), budget.lease()
    first.acquire(80)
    first.acquire(1_000)
    with pytest.raises(Overloaded):
        second.acquire(1)
    first.release()
    second.acquire(1_000)


def test_released_lease_acquires_nothing_more() -> None:
    budget = MemoryBudget(100)
    lease = budget.lease()
    lease.release()
    with pytest.raises(Overloaded):
        lease.acquire(1)
    assert budget.used_bytes == 0


def test_lease_that_moves_takes_its_bytes_along() -> None:
    small, large = MemoryBudget(100), MemoryBudget(1_000)
    lease, other = small.lease(), large.lease()
    lease.acquire(80)
    lease.move_to(large)
    assert (small.used_bytes, large.used_bytes) == (0, 80)
    other.acquire(500)
    lease.acquire(400)
    lease.release()
    assert large.used_bytes == 500


def test_lease_that_finds_no_room_occupies_nothing() -> None:
    small, large = MemoryBudget(100), MemoryBudget(1_000)
    lease, other = small.lease(), large.lease()
    lease.acquire(80)
    other.acquire(950)
    with pytest.raises(Overloaded):
        lease.move_to(large)
    assert (small.used_bytes, large.used_bytes) == (0, 950)
    lease.release()
    assert large.used_bytes == 950


def used_bytes(client: httpx.AsyncClient) -> int:
    budget: MemoryBudget = app_of(client).state.app_state.budget
    return budget.used_bytes


async def wait_for_used_bytes(client: httpx.AsyncClient, count: int) -> None:
    async def is_used() -> bool:
        return used_bytes(client) == count

    await asyncio.wait_for(eventually(is_used), 10)


class StalledUpload:
    """A request that has sent all of its body but the end, which it sends once `go` is set."""

    def __init__(self, client: httpx.AsyncClient, count: int) -> None:
        self.go, self._count = asyncio.Event(), count
        self.response = asyncio.create_task(client.post("/v1/classify", content=self._body()))

    async def _body(self) -> AsyncIterator[bytes]:
        yield IMAGE
        yield bytes(self._count - len(IMAGE))  # bytes after the end of an image are ignored
        await self.go.wait()
        yield b"the end"


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embed", "/v1/classify/batch", "/"])
async def test_bodies_beyond_the_budget_are_rejected_until_another_request_ends(serve: Serve, path: str) -> None:
    async with serve(max_buffered_bytes=MAX_BYTES) as client:
        first = StalledUpload(client, MAX_BYTES - 1_000)
        await wait_for_used_bytes(client, MAX_BYTES - 1_000)
        form = {"files" if path.endswith("batch") else "file": IMAGE}
        rejected = await client.post(path, files=form)
        assert rejected.status_code == 503
        assert int(rejected.headers["Retry-After"]) >= 1
        assert "memory for request bodies is exhausted" in rejected.text
        assert used_bytes(client) == MAX_BYTES - 1_000, "the rejected request still occupies memory"
        first.go.set()
        assert (await first.response).status_code == 200
        assert used_bytes(client) == 0
        assert (await client.post(path, files=form)).status_code == 200


@pytest.mark.anyio
async def test_single_body_larger_than_the_budget_is_classified(serve: Serve) -> None:
    async with serve(max_buffered_bytes=1_000) as client:
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200
        assert labels(await send_batch(client, image_files(IMAGE, IMAGE))) == ["red", "red"]
        assert labels(await send_zip(client, zipped(a=IMAGE, b=IMAGE))) == ["red", "red"]


@pytest.mark.anyio
async def test_unpacked_files_of_a_zip_count(serve: Serve) -> None:
    async with serve(max_buffered_bytes=MAX_BYTES) as client:
        first, bomb = StalledUpload(client, 50_000), zipped(a=bytes(60_000))
        await wait_for_used_bytes(client, 50_000)
        assert len(bomb) < 1_000
        rejected = await send_zip(client, bomb)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        first.go.set()
        await first.response
        assert (await send_zip(client, bomb)).status_code == 200


@pytest.mark.anyio
async def test_every_way_a_request_ends_releases_its_bytes(serve: Serve) -> None:
    async with serve(max_buffered_bytes=MAX_BYTES, max_body_bytes=20_000) as client:
        for content in (IMAGE, IMAGE[:100], b"none", bytes(30_000)):
            await client.post("/v1/classify", content=content)
        disconnected = StalledUpload(client, 15_000)
        await wait_for_used_bytes(client, 15_000)
        disconnected.response.cancel()
        with suppress(asyncio.CancelledError):
            await disconnected.response
        await wait_for_used_bytes(client, 0)
