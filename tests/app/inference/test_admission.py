"""Requests beyond the capacity of the queue."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.asgi import Serve, block_engine, metric_value, post_image, wait_for_queued
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

IMAGE = encoded()


async def test_overload_is_rejected_at_once_with_retry_after(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=2) as client:
        admitted = [await block_engine(engine, client, IMAGE), post_image(client, IMAGE)]
        await wait_for_queued(client, 1)
        rejected = await asyncio.wait_for(post_image(client, IMAGE), 10)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        assert int(rejected.headers["Retry-After"]) >= 1
        assert await metric_value(client, 'classifier_requests_rejected_total{reason="overloaded"}') == 1
        engine.unblocked.set()
        assert [response.status_code for response in await asyncio.gather(*admitted)] == [200, 200]
        assert (await post_image(client, IMAGE)).status_code == 200


async def test_invalid_image_returns_its_capacity(serve: Serve) -> None:
    async with serve(queue_size=1) as client:
        for _ in range(3):
            assert (await client.post("/v1/classify", content=IMAGE[:100])).status_code == 422
        assert (await post_image(client, IMAGE)).status_code == 200
