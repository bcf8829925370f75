"""Bytes of bodies that all requests hold together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from app.errors import Overloaded
from app.uploads.budget import MemoryBudget
from tests.app.conftest import Serve, eventually
from tests.app.inference.test_load import app_of
from tests.app.routes.test_classify_batch import files, labels, send, send_zip, zipped
from tests.support.encoded_images import encoded

MOST = 100_000
PICTURE = encoded("red")  # some 8 kB


def test_more_than_all_may_hold_is_refused_and_what_is_given_back_is_there_again() -> None:
    bodies = MemoryBudget(100)
    one, other = bodies.lease(), bodies.lease()
    one.acquire(60)
    other.acquire(40)
    for share in (one, other):
        with pytest.raises(Overloaded, match="as many bytes"):
            share.acquire(1)
    one.release()
    other.acquire(60)
    assert bodies.used_bytes == 100
    other.release()
    assert bodies.used_bytes == 0


def test_one_that_is_larger_than_all_may_be_is_let_in_alone() -> None:
    bodies = MemoryBudget(100)
    one, other = bodies.lease(), bodies.lease()
    one.acquire(80)
    one.acquire(1_000)
    with pytest.raises(Overloaded):
        other.acquire(1)
    one.release()
    other.acquire(1_000)


def test_a_request_that_is_over_takes_nothing_more() -> None:
    bodies = MemoryBudget(100)
    share = bodies.lease()
    share.release()
    with pytest.raises(Overloaded):
        share.acquire(1)
    assert bodies.used_bytes == 0


def held(client: httpx.AsyncClient) -> int:
    bodies: MemoryBudget = app_of(client).state.held.bodies
    return bodies.used_bytes


class HalfSent:
    """A request of whose body only a part has come until it is told to go on."""

    def __init__(self, client: httpx.AsyncClient, count: int) -> None:
        self.go, self._count = asyncio.Event(), count
        self.answer = asyncio.create_task(client.post("/v1/classify", content=self._body()))

    async def _body(self) -> AsyncIterator[bytes]:
        yield PICTURE
        yield bytes(self._count - len(PICTURE))  # what follows a picture does not matter
        await self.go.wait()
        yield b"the end"


async def holds(client: httpx.AsyncClient, count: int) -> None:
    async def is_so() -> bool:
        return held(client) == count

    await asyncio.wait_for(eventually(is_so), 10)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embed", "/v1/classify/batch", "/"])
async def test_bodies_that_are_too_much_together_are_refused_until_one_is_over(serve: Serve, path: str) -> None:
    async with serve(max_buffered_bytes=MOST) as client:
        first = HalfSent(client, MOST - 1_000)
        await holds(client, MOST - 1_000)
        form = {"files" if path.endswith("batch") else "file": PICTURE}
        refused = await client.post(path, files=form)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
        assert "as many bytes of requests" in refused.text
        assert held(client) == MOST - 1_000, "the refused one holds nothing any more"
        first.go.set()
        assert (await first.answer).status_code == 200
        assert held(client) == 0
        assert (await client.post(path, files=form)).status_code == 200


@pytest.mark.anyio
async def test_one_body_that_is_larger_is_answered_as_ever(serve: Serve) -> None:
    async with serve(max_buffered_bytes=1_000) as client:
        assert (await client.post("/v1/classify", content=PICTURE)).status_code == 200
        assert labels(await send(client, files(PICTURE, PICTURE))) == ["red", "red"]
        assert labels(await send_zip(client, zipped(a=PICTURE, b=PICTURE))) == ["red", "red"]


@pytest.mark.anyio
async def test_what_a_zip_unpacks_to_counts(serve: Serve) -> None:
    async with serve(max_buffered_bytes=MOST) as client:
        first, bomb = HalfSent(client, 50_000), zipped(a=bytes(60_000))
        await holds(client, 50_000)
        assert len(bomb) < 1_000
        refused = await send_zip(client, bomb)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        first.go.set()
        await first.answer
        assert (await send_zip(client, bomb)).status_code == 200


@pytest.mark.anyio
async def test_nothing_is_held_once_requests_are_over_in_whatever_way(serve: Serve) -> None:
    async with serve(max_buffered_bytes=MOST, max_body_bytes=20_000) as client:
        for content in (PICTURE, PICTURE[:100], b"none", bytes(30_000)):
            await client.post("/v1/classify", content=content)
        gone = HalfSent(client, 15_000)
        await holds(client, 15_000)
        gone.answer.cancel()
        with suppress(asyncio.CancelledError):
            await gone.answer
        await holds(client, 0)
