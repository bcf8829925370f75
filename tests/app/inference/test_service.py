"""Batches, deadlines and disconnected clients, through the whole app."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.inference.service import Service
from tests.support.asgi import Serve, app_of, block_engine, metric_value, post_image, wait_for_queued
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()
QUEUE_DEPTH = 'classifier_queue_depth{extractor="near_net"}'


async def test_queued_requests_share_a_batch(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_batch=8) as client:
        running = await block_engine(engine, client, IMAGE)
        queued = [post_image(client, IMAGE) for _ in range(5)]
        await wait_for_queued(client, 5)
        engine.unblocked.set()
        results = [response.json() for response in await asyncio.gather(running, *queued)]
    assert [result["batch_size"] for result in results] == [1, 5, 5, 5, 5, 5]
    assert all(result["predictions"][0]["label"] == "red" for result in results)


async def test_deadline_that_passes_in_the_queue_is_504(serve: Serve, engine: ColourEngine) -> None:
    async with serve() as client:
        service: Service = app_of(client).state.app_state.manager.service
        await service.decoder.warm_up()  # otherwise the start of a worker counts as the time that an image takes
        running = await block_engine(engine, client, IMAGE)
        late = await asyncio.wait_for(post_image(client, IMAGE, **{"X-Request-Timeout-Ms": "500"}), 10)
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        engine.unblocked.set()
        assert (await running).status_code == 200
        assert sum(engine.batch_sizes) == 1
        assert await metric_value(client, 'classifier_requests_rejected_total{reason="deadline_exceeded"}') == 1


async def test_default_deadline_is_a_setting(serve: Serve, engine: ColourEngine) -> None:
    async with serve(deadline_ms=50) as client:
        engine.unblocked.clear()
        assert (await asyncio.wait_for(post_image(client, IMAGE), 10)).status_code == 504
        engine.unblocked.set()


@pytest.mark.parametrize("path", ["/v1/classify", "/"])
async def test_queued_image_is_not_run_after_its_client_disconnects(
    serve: Serve, engine: ColourEngine, path: str
) -> None:
    async with serve() as client:
        running = await block_engine(engine, client, IMAGE)
        disconnected = asyncio.Event()
        body = iter([{"type": "http.request", "body": IMAGE, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in body:
                return message
            await disconnected.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            """Drop the response, which no client receives."""

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
            "scheme": "http",
            "server": ("server", 80),
            "client": ("client", 1),
            "root_path": "",
        }
        request = asyncio.create_task(app_of(client)(scope, receive, send))
        await wait_for_queued(client, 1)
        disconnected.set()
        await asyncio.wait_for(request, 10)
        assert await metric_value(client, QUEUE_DEPTH) == 0
        assert await metric_value(client, "classifier_requests_cancelled_total") == 1
        engine.unblocked.set()
        assert (await running).status_code == 200
        assert (await post_image(client, IMAGE)).status_code == 200
        assert engine.batch_sizes == [1, 1]
