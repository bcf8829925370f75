"""`POST /v1/classify/batch`."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.support.asgi import Serve, metric_value, wait_for_queued
from tests.support.batch_requests import image_files, labels, send_batch
from tests.support.colour_engine import ColourEngine
from tests.support.encoded_images import TRUNCATED_HEIC, encoded
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

COLOURS = ["red", "green", "blue", "yellow"]


async def test_each_image_gets_the_result_it_gets_alone(client: httpx.AsyncClient) -> None:
    images = [encoded(colour) for colour in COLOURS]
    response = await send_batch(client, image_files(*images), top_k=2)
    assert response.status_code == 200
    assert set(response.json()) == {"request_id", "items"}
    for number, (item, image) in enumerate(zip(response.json()["items"], images, strict=True)):
        alone = (await client.post("/v1/classify", content=image, params={"top_k": 2})).json()
        assert set(item) == {"index", "filename", "result"}
        assert (item["index"], item["filename"]) == (number, f"{number}.png")
        assert set(item["result"]) == {"model", "version", "predictions"}
        assert item["result"]["model"] == alone["model"]
        for batched, single in zip(item["result"]["predictions"], alone["predictions"], strict=True):
            assert batched["label"] == single["label"]
            assert batched["score"] == pytest.approx(single["score"], abs=1e-5)


async def test_images_of_one_request_share_batches(own_client: httpx.AsyncClient, engine: ColourEngine) -> None:
    engine.unblocked.clear()
    request = asyncio.create_task(send_batch(own_client, image_files(*[encoded("red")] * 20)))
    await asyncio.to_thread(engine.batch_started.acquire)
    await wait_for_queued(own_client, 20 - engine.batch_sizes[0])
    engine.unblocked.set()
    assert len(labels(await request)) == 20
    assert sum(engine.batch_sizes) == 20
    assert len(engine.batch_sizes) <= 2


async def test_invalid_images_get_their_errors_and_the_others_their_results(client: httpx.AsyncClient) -> None:
    images = (encoded("red"), b"hello", encoded("blue")[:200], b"", TRUNCATED_HEIC, encoded("blue"))
    response = await send_batch(client, image_files(*images))
    assert response.status_code == 200
    items = response.json()["items"]
    assert [item.get("error", {}).get("status") for item in items] == [None, 415, 422, 400, 422, None]
    assert [item["error"]["code"] for item in items if "error" in item] == [
        "unsupported_format",
        "undecodable_image",
        "empty_image",
        "undecodable_image",
    ]
    assert items[5]["result"]["predictions"][0]["label"] == "blue"
    assert all("result" not in item for item in items if "error" in item)


async def test_status_is_200_even_if_every_image_failed(client: httpx.AsyncClient) -> None:
    response = await send_batch(client, image_files(b"a", b"b"))
    assert (response.status_code, len(response.json()["items"])) == (200, 2)


async def test_each_image_gets_the_results_of_several_models(client: httpx.AsyncClient) -> None:
    items = (await send_batch(client, image_files(encoded("red"), encoded("blue")), model="tones,far")).json()["items"]
    for item, colour in zip(items, ("red", "blue"), strict=True):
        assert [result["model"] for result in item["results"]] == ["tones", "far"]
        assert all(result["predictions"][0]["label"] == colour for result in item["results"])


async def test_images_are_cancelled_when_the_client_disconnects(serve: Serve, engine: ColourEngine) -> None:
    async with serve(max_batch=2, queue_size=30) as client:
        engine.unblocked.clear()
        request = asyncio.create_task(send_batch(client, image_files(*[encoded("red")] * 20)))
        await asyncio.to_thread(engine.batch_started.acquire)
        await wait_for_queued(client, 20 - engine.batch_sizes[0])
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await wait_for_queued(client, 0)
        engine.unblocked.set()

        async def is_capacity_free() -> bool:  # once the batch that was running has ended
            return (await send_batch(client, image_files(*[encoded("red")] * 30))).status_code == 200

        await asyncio.wait_for(eventually(is_capacity_free), 20)
        assert sum(engine.batch_sizes) <= 2 + 30


async def test_capacity_is_reserved_for_all_images_or_none(serve: Serve, engine: ColourEngine) -> None:
    async with serve(queue_size=4) as client:
        engine.unblocked.clear()
        running = asyncio.create_task(send_batch(client, image_files(*[encoded("red")] * 3)))
        await asyncio.to_thread(engine.batch_started.acquire)
        rejected = await send_batch(client, image_files(encoded("red"), encoded("red")))
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        assert int(rejected.headers["Retry-After"]) >= 1
        engine.unblocked.set()
        assert labels(await running) == ["red"] * 3
        too_many = await send_batch(client, image_files(*[encoded("red")] * 5))
        assert (too_many.status_code, too_many.json()["code"]) == (413, "too_many_images")
        assert (await send_batch(client, image_files(*[encoded("red")] * 4))).status_code == 200


async def test_images_that_miss_the_deadline_get_an_error_and_leave_the_queue(
    serve: Serve, engine: ColourEngine
) -> None:
    async with serve(max_batch=1) as client:
        engine.unblocked.clear()
        request = asyncio.create_task(
            client.post(
                "/v1/classify/batch",
                files=image_files(encoded("red"), encoded("red")),
                headers={"X-Request-Timeout-Ms": "200"},
            )
        )
        response = await asyncio.wait_for(request, 10)
        engine.unblocked.set()
        assert response.status_code == 200
        assert [item["error"]["code"] for item in response.json()["items"]] == ["deadline_exceeded"] * 2
        assert await metric_value(client, 'classifier_queue_depth{extractor="near_net"}') == 0
