"""Rejections while a queue is full: their order, and that no body is read for them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.auth.keys import Role, add_key
from tests.support.asgi import Serve, block_engine, unreadable_body
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


@pytest.mark.parametrize(
    "path",
    ["/v1/classify", "/v1/classify/batch", "/v1/embed", "/predictions/colours", "/v2/models/colours/infer"],
)
async def test_full_queue_rejects_without_waiting_for_the_body(serve: Serve, engine: ColourEngine, path: str) -> None:
    async def stalled_body() -> AsyncIterator[bytes]:
        yield IMAGE[:10]
        await asyncio.Event().wait()

    async with serve(queue_size=1) as client:
        running = await block_engine(engine, client, IMAGE)
        rejected = await asyncio.wait_for(client.post(path, content=stalled_body()), 10)
        assert rejected.status_code == 503
        engine.unblocked.set()
        assert (await running).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/classify?model=none&top_k=x", 422),
        ("/v1/classify?model=none", 404),
        ("/v1/classify", 503),
        ("/v1/classify?model=far", 503),
        ("/v1/classify/batch?threshold=2", 422),
        ("/v1/classify/batch", 503),
        ("/v1/embed?model=none", 404),
        ("/predictions/colours/x", 422),
        ("/predictions/far", 503),
        ("/v2/models/none/infer", 404),
        ("/v2/models/colours/infer", 503),
    ],
)
async def test_full_queue_is_checked_after_parameters_and_model_and_before_the_body(
    serve: Serve, engines: dict[str, ColourEngine], path: str, status: int
) -> None:
    async with serve(queue_size=1) as client:
        running = [
            await block_engine(engines["near_net"], client, IMAGE),
            await block_engine(engines["far_net"], client, IMAGE, "/v1/classify?model=far"),
        ]
        rejected = await client.post(path, content=unreadable_body())
        assert rejected.status_code == status
        if status == 503:
            assert int(rejected.headers["Retry-After"]) >= 1
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.get("/v2/models/colours")).status_code == 200
        for engine in engines.values():
            engine.unblocked.set()
        assert [response.status_code for response in await asyncio.gather(*running)] == [200, 200]
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200


async def test_full_queues_reject_work_before_parameters_and_nothing_else(
    serve: Serve, engines: dict[str, ColourEngine]
) -> None:
    async with serve(queue_size=1) as client:
        running = [
            await block_engine(engines["near_net"], client, IMAGE),
            await block_engine(engines["far_net"], client, IMAGE, "/v1/classify?model=far"),
        ]
        assert (await client.post("/v1/classify", content=unreadable_body())).status_code == 503
        for path in ("/v1/classify?model=none&top_k=x", "/v2/models/none/infer"):
            rejected = await client.post(path, content=unreadable_body())
            assert (rejected.status_code, int(rejected.headers["Retry-After"]) >= 1) == (503, True)
        assert (await client.get("/v1/models/none")).status_code == 404
        for engine in engines.values():
            engine.unblocked.set()
        await asyncio.gather(*running)
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 200
        assert (await client.post("/v1/classify?model=none", content=IMAGE)).status_code == 404


async def test_full_queue_of_one_extractor_rejects_nothing_of_another(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=1) as client:
        running = await block_engine(engine, client, IMAGE)
        for model, status in [("colours", 503), ("far", 200)] * 2:
            response = await client.post(f"/v1/classify?model={model}", content=IMAGE)
            assert response.status_code == status
            assert status == 200 or response.json()["code"] == "overloaded"
        engine.unblocked.set()
        await running


async def test_unmeetable_deadline_is_rejected_before_the_body_is_read(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=2) as client:
        running = await block_engine(engine, client, IMAGE)
        for model, status in [("colours", 503), ("none", 404)]:
            response = await client.post(
                f"/v1/classify?model={model}", content=unreadable_body(), headers={"X-Request-Timeout-Ms": "0.001"}
            )
            assert response.status_code == status
        engine.unblocked.set()
        await running


async def test_key_is_checked_before_a_full_queue(serve: Serve, engine: ColourEngine, tmp_path: Path) -> None:
    keys_file = tmp_path / "keys"
    key = {"X-API-Key": add_key(keys_file, "laptop", Role.USER)}
    async with serve(queue_size=1, api_keys_file=keys_file) as client:
        running = await block_engine(engine, client, IMAGE, **key)
        rejected = await client.post("/v1/classify", content=IMAGE, headers=key)
        assert (await client.post("/v1/classify", content=IMAGE)).status_code == 401
        assert rejected.status_code == 503
        assert rejected.headers["Cache-Control"] == "no-store"
        engine.unblocked.set()
        assert (await running).status_code == 200


async def test_rejection_has_ratelimit_headers(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=1, rate_limit="10/minute") as client:
        running = await block_engine(engine, client, IMAGE)
        rejected = await client.post("/v1/classify", content=IMAGE)
        assert rejected.status_code == 503
        assert re.fullmatch(r'"60s";r=8;t=[1-9]\d', rejected.headers["RateLimit"])
        engine.unblocked.set()
        await running


async def test_metrics_count_rejections_by_route(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=1) as client:
        running = await block_engine(engine, client, IMAGE)
        await client.post("/predictions/colours", content=IMAGE)
        metrics = (await client.get("/metrics")).text
        engine.unblocked.set()
        await running
    assert 'classifier_requests_total{method="POST",route="/predictions/{model}",status="503"} 1.0' in metrics
