"""Large images are decoded one at a time, and other images do not wait for them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.decoding import decoder as decoder_module
from app.decoding import thumbnail as thumbnail_module
from app.decoding.decoder import ImageDecoder
from app.decoding.response_timeout import RESPONSE_TIMEOUT_S
from app.decoding.thumbnail import thumbnail
from app.inference.service import Service
from models.decoding import protocol
from models.decoding.limits import DEFAULT_LIMITS, Limits
from tests.support.asgi import Serve, app_of
from tests.support.batch_requests import image_files, labels, send_batch
from tests.support.clocks import advance_loop, batching_clock
from tests.support.decode_worker import patched_worker
from tests.support.encoded_images import encoded
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

LARGE_IMAGE_PIXELS = 64_000  # an image of more than 16,000 pixels is large, a PNG of more than 4,000 medium
_THUMBNAIL = 'src="data:image/jpeg;base64,'
SMALL, LARGE = encoded("green"), encoded("red", size=(160, 120))


def service_of(client: httpx.AsyncClient) -> Service:
    service: Service = app_of(client).state.app_state.manager.service
    return service


def decoder_of(client: httpx.AsyncClient) -> ImageDecoder:
    return service_of(client).decoder


def waiting_large_images(client: httpx.AsyncClient) -> int:
    return len(decoder_of(client)._large.queue)


async def fill_queue(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Task[Any]]:
    """Have as many requests wait as may, which are two here."""
    monkeypatch.setattr(decoder_module, "MAX_WAITING_REQUESTS", 2)
    waiting = [post(client, LARGE) for _ in range(2)]
    await wait_for_large_images(client, 2)
    return waiting


async def wait_for_large_images(client: httpx.AsyncClient, count: int) -> None:
    async def holds() -> bool:
        return waiting_large_images(client) == count

    await asyncio.wait_for(eventually(holds), 20)


class StoppedWorker:
    """The worker for large images, stopped by a signal."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def resume(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@asynccontextmanager
async def stopped_worker(client: httpx.AsyncClient) -> AsyncIterator[StoppedWorker]:
    """Stop the worker for large images while it has an image, until it is resumed or the block ends."""
    decoder = decoder_of(client)
    await thumbnail(decoder, LARGE, 10, DEFAULT_LIMITS)
    (worker,) = decoder._large._workers
    assert worker._process
    os.kill(worker._process.pid, signal.SIGSTOP)
    first = asyncio.create_task(thumbnail(decoder, LARGE, 10, DEFAULT_LIMITS))
    stopped = StoppedWorker(worker._process.pid)

    async def is_busy() -> bool:
        return bool(worker.jobs)

    try:
        await asyncio.wait_for(eventually(is_busy), 20)
        yield stopped
    finally:
        if not worker.ended.done():
            stopped.resume()
        await asyncio.gather(first, return_exceptions=True)


def post(client: httpx.AsyncClient, data: bytes, path: str = "/v1/classify", **headers: str) -> Any:
    return asyncio.create_task(client.post(path, content=data, headers=headers))


async def test_large_images_wait_for_their_turn_without_a_limit_of_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        async with stopped_worker(client) as stopped:
            waiting = [post(client, LARGE) for _ in range(8)]
            await wait_for_large_images(client, 8)
            with monkeypatch.context() as patched:
                advance_loop(patched, RESPONSE_TIMEOUT_S - 5)  # of the worker, which is stopped
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # timers that are due have been called
            assert waiting_large_images(client) == 8
            stopped.resume()
        responses = await asyncio.gather(*waiting)
        assert [response.json()["predictions"][0]["label"] for response in responses] == ["red"] * 8


async def test_large_image_behind_too_many_others_is_rejected_at_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        async with stopped_worker(client) as stopped:
            waiting = await fill_queue(client, monkeypatch)
            rejected = await asyncio.wait_for(post(client, LARGE), 10)
            assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
            assert int(rejected.headers["Retry-After"]) >= 1
            assert "more than 16,000 pixels, and other images of more than 4,000," in rejected.json()["detail"]
            assert waiting_large_images(client) == 2
            stopped.resume()
        assert [(await request).status_code for request in [*waiting, post(client, LARGE)]] == [200] * 3


async def test_images_of_one_request_count_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "MAX_WAITING_REQUESTS", 2)
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        async with stopped_worker(client) as stopped:
            batch = asyncio.create_task(send_batch(client, image_files(LARGE, LARGE, LARGE)))
            await wait_for_large_images(client, 3)
            single = post(client, LARGE)
            await wait_for_large_images(client, 4)
            second_batch = asyncio.create_task(send_batch(client, image_files(LARGE, LARGE)))
            await wait_for_large_images(client, 6)
            stopped.resume()
        assert (await single).status_code == 200
        assert labels(await batch) + labels(await second_batch) == ["red"] * 5


async def test_wait_for_large_images_does_not_reject_small_ones_with_a_deadline(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, waited_s = batching_clock(monkeypatch, runs=True), 1000
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        async with stopped_worker(client) as stopped:
            waiting = [post(client, LARGE) for _ in range(4)]
            await wait_for_large_images(client, 4)
            clock.advance(waited_s)
            stopped.resume()
            assert {(await request).status_code for request in waiting} == {200}
        async with stopped_worker(client):
            held = post(client, LARGE)  # only while work is held are deadlines compared with estimates
            await wait_for_large_images(client, 1)
            timeout_ms = str(1000 * (waited_s + 10))  # 10 s from now, by the clock of the batcher
            assert (await post(client, SMALL, **{"X-Request-Timeout-Ms": timeout_ms})).status_code == 200
            held.cancel()


@pytest.mark.parametrize(
    ("kind", "size", "status"),
    [
        ("PNG", (64, 62), 200),
        ("PNG", (64, 63), 504),
        ("WebP", (64, 63), 504),
        ("JPEG", (64, 63), 200),
        ("JPEG", (64, 250), 200),
        ("JPEG", (64, 251), 504),
    ],
)
async def test_threshold_of_large_images_depends_on_the_format(
    serve: Serve, kind: str, size: tuple[int, int], status: int
) -> None:
    timeout = {"X-Request-Timeout-Ms": "2000"} if status == 504 else {}
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client, stopped_worker(client):
        decoder_of(client)._medium = decoder_of(client)._large
        assert (await post(client, encoded("red", kind, size), **timeout)).status_code == status


async def test_small_images_do_not_wait_for_large_ones(serve: Serve) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        async with stopped_worker(client) as stopped:
            large = [post(client, LARGE) for _ in range(8)]
            small = [await asyncio.wait_for(post(client, SMALL), 10) for _ in range(20)]
            assert [response.json()["predictions"][0]["label"] for response in small] == ["green"] * 20
            assert not any(request.done() for request in large)
            stopped.resume()
        assert {(await request).status_code for request in large} == {200}


async def test_large_images_of_one_request_wait_for_each_other(serve: Serve) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        async with stopped_worker(client) as stopped:
            batch = asyncio.create_task(send_batch(client, image_files(LARGE, SMALL, LARGE, LARGE)))
            await wait_for_large_images(client, 3)
            stopped.resume()
        assert labels(await batch) == ["red", "green", "red", "red"]


async def test_request_of_many_large_images_does_not_block_a_single_one(serve: Serve) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        order: list[str] = []

        async def record(name: str, request: asyncio.Task[httpx.Response]) -> None:
            assert (await request).status_code == 200
            order.append(name)

        async with stopped_worker(client) as stopped:
            batch = asyncio.create_task(send_batch(client, image_files(*[encoded("red", size=(300, 200))] * 60)))
            await wait_for_large_images(client, 60)
            single = post(client, LARGE)
            await wait_for_large_images(client, 61)
            stopped.resume()
            await asyncio.gather(record("batch", batch), record("single", single))
        assert order == ["single", "batch"]


async def test_disconnected_client_leaves_the_queue_at_once(serve: Serve) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client, stopped_worker(client):
        batch = asyncio.create_task(send_batch(client, image_files(*[LARGE] * 5)))
        single = post(client, LARGE)
        await wait_for_large_images(client, 6)
        for request in (batch, single):
            request.cancel()
        await asyncio.gather(batch, single, return_exceptions=True)
        assert waiting_large_images(client) == 0


async def test_deadline_ends_the_wait_of_large_images(serve: Serve) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client, stopped_worker(client):
        headers = {"X-Request-Timeout-Ms": "200"}
        batch = await client.post("/v1/classify/batch", files=image_files(LARGE, LARGE), headers=headers)
        assert [item["error"]["code"] for item in batch.json()["items"]] == ["deadline_exceeded"] * 2
        assert waiting_large_images(client) == 0


async def test_large_image_waits_for_the_start_of_its_worker(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        assert (await post(client, SMALL)).status_code == 200
        monkeypatch.setattr(protocol, "spawn", patched_worker("import time; time.sleep(1)"))
        assert (await asyncio.wait_for(post(client, LARGE), 30)).status_code == 200


async def test_close_rejects_all_waiting_large_images(serve: Serve) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client, stopped_worker(client):
        batch = asyncio.create_task(send_batch(client, image_files(*[LARGE] * 5)))
        pending_thumbnail = asyncio.create_task(thumbnail(decoder_of(client), LARGE, 10, DEFAULT_LIMITS))
        await wait_for_large_images(client, 6)
        await decoder_of(client).close()
        response = await asyncio.wait_for(batch, 10)
        assert [item["error"]["code"] for item in response.json()["items"]] == ["draining"] * 5
        with pytest.raises(Exception, match="shutting down"):
            await asyncio.wait_for(pending_thumbnail, 10)


async def test_page_shows_the_result_of_a_large_image_without_its_thumbnail(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client:
        shown = await client.post("/", files={"file": LARGE})
        assert _THUMBNAIL in shown.text

        async def thumbnail_behind_another(decoder: ImageDecoder, image: bytes, side: int, limits: Limits) -> bytes:
            async with stopped_worker(client) as stopped:
                waiting = await fill_queue(client, monkeypatch)
                try:
                    return await thumbnail(decoder, image, side, limits)
                finally:
                    stopped.resume()
                    await asyncio.gather(*waiting)

        monkeypatch.setattr(thumbnail_module, "thumbnail", thumbnail_behind_another)
        page = await client.post("/", files={"file": LARGE})
        assert page.status_code == 200
        assert "Most likely: red" in page.text
        assert _THUMBNAIL not in page.text


async def test_image_of_a_cancelled_request_is_freed(serve: Serve) -> None:
    async with serve(large_image_pixels=LARGE_IMAGE_PIXELS) as client, stopped_worker(client):
        service, data = service_of(client), bytes(bytearray(LARGE))
        references = sys.getrefcount(data)
        request = asyncio.create_task(service.classify([data], [service.models.default]))
        await wait_for_large_images(client, 1)
        assert sys.getrefcount(data) > references
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        del request
        await asyncio.sleep(0)  # the event loop drops the cancelled task
        gc.collect()
        assert sys.getrefcount(data) == references


async def test_classified_image_is_freed_without_garbage_collection(own_client: httpx.AsyncClient) -> None:
    service, data = service_of(own_client), bytes(bytearray(SMALL))
    references = sys.getrefcount(data)
    gc.collect()
    gc.disable()  # a reference cycle would be kept until the next collection
    try:
        await service.classify([data], [service.models.default])
        await asyncio.sleep(0)
        assert sys.getrefcount(data) == references
    finally:
        gc.enable()
