"""The times and batch sizes of responses, metrics and logs: each measures its own step."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import AsyncIterator

import httpx
import numpy as np
import pytest

from app.inference.service import Service
from tests.support.asgi import Serve, app_of, block_engine, metric_value, post_image, wait_for_queued
from tests.support.clocks import batching_clock
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()
REAL_S = 100
"""What really passes in a test takes less; the times of a moved clock are multiples."""


async def begin_next_batch(engine: ColourEngine) -> None:
    """End the blocked batch, and wait until the next one is blocked."""
    engine.unblocked.set()
    engine.unblocked.clear()
    await asyncio.to_thread(engine.batch_started.acquire)


def is_about(value: float, expected: float) -> bool:
    return expected <= value < expected + REAL_S


async def test_queue_and_inference_are_timed_apart(
    serve: Serve, engine: ColourEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = batching_clock(monkeypatch, runs=True)
    async with serve() as client:
        running = await block_engine(engine, client, IMAGE)
        queued = post_image(client, IMAGE)
        await wait_for_queued(client, 1)
        clock.advance(10 * REAL_S)
        await begin_next_batch(engine)
        clock.advance(50 * REAL_S)
        engine.unblocked.set()
        first, second = [(await request).json()["timing_ms"] for request in (running, queued)]
        sums = {
            name: await metric_value(client, f"classifier_{name}_duration_seconds_sum")
            for name in ("decode", "queue", "inference", "request")
        }
    for timing, queue_s, inference_s in ((first, 0, 10 * REAL_S), (second, 10 * REAL_S, 50 * REAL_S)):
        assert is_about(timing["queue"] / 1000, queue_s)
        assert is_about(timing["inference"] / 1000, inference_s)
        assert 0 < timing["decode"] / 1000 < REAL_S
        assert 0 < timing["total"] / 1000 < REAL_S, "by the clock of the request, which has not moved"
    assert is_about(sums["queue"], 10 * REAL_S)
    assert is_about(sums["inference"], 60 * REAL_S)
    assert 0 < sums["decode"] < REAL_S
    assert 0 < sums["request"] < REAL_S


async def test_wait_for_the_preparation_counts_as_queueing(
    own_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = batching_clock(monkeypatch, runs=True)
    service: Service = app_of(own_client).state.app_state.manager.service
    go, threads = threading.Event(), service.decoder._threads
    for _ in range(threads._max_workers):
        threads.submit(go.wait, REAL_S)
    pixels = np.zeros((8, 8, 3), np.uint8)
    request = asyncio.create_task(service.classify([pixels], [service.models.default]))
    await asyncio.sleep(0)
    clock.advance(10 * REAL_S)
    go.set()
    (result,) = await request
    assert not isinstance(result, Exception)
    assert is_about(result.queue_s, 10 * REAL_S)
    assert result.decode_s + result.inference_s < REAL_S
    assert await metric_value(own_client, "classifier_queue_duration_seconds_sum") < REAL_S, "of the batcher alone"


async def test_total_time_begins_with_the_request(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = time.monotonic

    async def slow_body() -> AsyncIterator[bytes]:
        yield IMAGE
        monkeypatch.setattr(time, "monotonic", lambda: real() + 10 * REAL_S)

    async with serve(read_timeout_s=100 * REAL_S, store_poll_s=0) as client:
        capsys.readouterr()
        response = await client.post("/v1/classify", content=slow_body())
        timing = response.json()["timing_ms"]
        labels = '{method="POST",route="/v1/classify"}'
        request_s = await metric_value(client, f"classifier_request_duration_seconds_sum{labels}")
    assert is_about(timing["total"] / 1000, 10 * REAL_S)
    assert timing["decode"] + timing["queue"] + timing["inference"] < 1000 * REAL_S
    assert is_about(request_s, 10 * REAL_S)
    logged = re.search(r"duration_ms=([\d.]+) method=POST path=/v1/classify", capsys.readouterr().out)
    assert logged
    assert is_about(float(logged[1]) / 1000, 10 * REAL_S)


async def test_batch_size_is_that_of_the_batch_in_every_response(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_batch=16) as client:
        running = await block_engine(engine, client, IMAGE)
        paths = ["classify", "classify?model=colours@1,colours@2", "classify?model=colours,tones", "embed"]
        queued = [asyncio.create_task(client.post(f"/v1/{path}", content=IMAGE)) for path in paths]
        await wait_for_queued(client, 5)  # one of the requests needs two rows
        engine.unblocked.set()
        assert (await running).json()["batch_size"] == 1
        assert [(await request).json()["batch_size"] for request in queued] == [5] * 4
        for bound, count in ((1, 1), (2, 1), (4, 1), (8, 2), (16, 2)):
            name = f'classifier_batch_size_bucket{{extractor="near_net",le="{bound:.1f}"}}'
            assert await metric_value(client, name) == count
        assert await metric_value(client, "classifier_batch_size_sum") == 6
        assert await metric_value(client, "classifier_queue_duration_seconds_count") == 6


async def test_images_are_logged_only_on_request_and_only_if_they_are_encoded(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    tensor = {"name": "pixels", "shape": [1, 1, 1, 3], "datatype": "UINT8", "data": [220, 20, 30]}
    for log_images in (True, False):
        async with serve(log_images=log_images) as client:
            assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200
            assert (await client.post("/v2/models/colours/infer", json={"inputs": [tensor]})).status_code == 200
        digests = re.findall(f"bytes={len(IMAGE)} .*sha256=([0-9a-f]+)", capsys.readouterr().out)
        assert digests == [hashlib.sha256(IMAGE).hexdigest()] * log_images
