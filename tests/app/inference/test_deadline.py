"""Deadlines: the moment at which a request is given up, for every route and every way to set it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.errors import DeadlineExceeded
from app.inference.deadline import deadline_scope
from app.request_context import RequestContext
from app.uploads.budget import MemoryBudget
from tests.support.asgi import Serve, block_engine, wait_for_queued
from tests.support.batch_requests import image_files
from tests.support.clocks import advance_loop
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()
TIMEOUT_S = 1000
HEADER = {"X-Request-Timeout-Ms": str(1000 * TIMEOUT_S)}
PIXELS = {"name": "pixels", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [220, 20, 30]}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/classify": {"content": IMAGE},
    "/v1/classify/batch": {"files": image_files(IMAGE)},
    "/v1/embed": {"content": IMAGE},
    "/predictions/colours": {"content": IMAGE},
    "/predictions/colours/1": {"content": IMAGE},
    "/v2/models/colours/infer": {"json": {"inputs": [PIXELS]}},
    "/v2/models/colours/versions/1/infer": {"json": {"inputs": [PIXELS]}},
    "/": {"files": {"file": IMAGE}},
}


async def run_due_timers() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def context(started: float) -> RequestContext:
    return RequestContext("", "/", False, MemoryBudget(1).lease(), started)


@pytest.mark.parametrize(("timeout_ms", "deadline"), [(1500, 101.5), (0.5, 100.0005), (None, None), (0, None)])
def test_deadline_is_the_timeout_after_the_start(timeout_ms: float | None, deadline: float | None) -> None:
    assert context(100).deadline(timeout_ms) == deadline


def test_elapsed_time_counts_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 107.5)
    assert context(100).elapsed_s() == 7.5


async def test_scope_ends_at_the_deadline_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> None:
        async with deadline_scope(time.monotonic() + TIMEOUT_S):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await run_due_timers()
    with monkeypatch.context() as early:
        advance_loop(early, 0.9 * TIMEOUT_S)
        await run_due_timers()
        assert not waiting.done()
    advance_loop(monkeypatch, TIMEOUT_S)
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(waiting, 10)


async def test_scope_without_a_deadline_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with deadline_scope(None):
        advance_loop(monkeypatch, 10**6)
        await run_due_timers()


@pytest.mark.parametrize("is_default", [False, True], ids=["header", "setting"])
@pytest.mark.parametrize("path", REQUESTS)
async def test_queued_request_of_every_route_is_given_up_at_its_deadline(
    serve: Serve, engine: ColourEngine, monkeypatch: pytest.MonkeyPatch, path: str, is_default: bool
) -> None:
    async with serve(deadline_ms=1000 * TIMEOUT_S if is_default else 1) as client:
        running = await block_engine(engine, client, IMAGE, **{"X-Request-Timeout-Ms": "1e9"})
        headers = {} if is_default else HEADER
        queued = asyncio.create_task(client.post(path, headers=headers, **REQUESTS[path]))
        await wait_for_queued(client, 1)
        with monkeypatch.context() as early:
            advance_loop(early, 0.9 * TIMEOUT_S)
            await run_due_timers()
            assert not queued.done()
        with monkeypatch.context() as late:
            advance_loop(late, TIMEOUT_S)
            response = await asyncio.wait_for(queued, 10)
        engine.unblocked.set()
        assert (await running).status_code == 200
    if path == "/v1/classify/batch":
        assert response.json()["items"][0]["error"]["status"] == 504
    else:
        assert response.status_code == 504


async def test_time_that_the_body_takes_counts(
    serve: Serve, engine: ColourEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.monotonic

    async def body(seconds: float) -> AsyncIterator[bytes]:
        yield IMAGE
        monkeypatch.setattr(time, "monotonic", lambda: real() + seconds)

    async with serve(read_timeout_s=10 * TIMEOUT_S) as client:
        for seconds, status in ((0.9 * TIMEOUT_S, 200), (TIMEOUT_S, 504)):
            monkeypatch.setattr(time, "monotonic", real)
            response = await client.post("/v1/classify", content=body(seconds), headers=HEADER)
            assert response.status_code == status
        assert engine.image_count == 1


@pytest.mark.parametrize("timeout_ms", ["0", "-1", "nan", "inf", "x", ""])
async def test_timeout_that_is_no_positive_number_is_rejected(serve: Serve, timeout_ms: str) -> None:
    async with serve(deadline_ms=10**6) as client:
        response = await client.post("/v1/classify", content=IMAGE, headers={"X-Request-Timeout-Ms": timeout_ms})
        assert response.status_code == 422, json.dumps(response.json())
