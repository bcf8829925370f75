"""Large pictures are decoded one at a time, and nobody else waits for them."""

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

from app.decoding import decoder as decoders
from app.decoding.decoder import LARGE_IMAGE_WAIT_S, ImageDecoder
from models.decoding import protocol as wishes
from models.decoding.image import DEFAULT_LIMITS, Limits
from tests.app.conftest import Serve, eventually
from tests.app.inference.test_load import app_of
from tests.app.routes.test_classify_batch import files, labels, send
from tests.support.decode_worker import changed
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

PIXELS = 64_000  # so that more than 16,000 are many, and of a PNG more than 4,000
SMALL, LARGE = encoded("green"), encoded("red", size=(160, 120))


def decoders_of(client: httpx.AsyncClient) -> ImageDecoder:
    found: ImageDecoder = app_of(client).state.held.service.decoders
    return found


def waiting(client: httpx.AsyncClient) -> int:
    """Large pictures that wait for their turn."""
    return len(decoders_of(client)._large.queue)


async def waits(client: httpx.AsyncClient, pictures: int) -> None:
    async def holds() -> bool:
        return waiting(client) == pictures

    await asyncio.wait_for(eventually(holds), 20)


class Go:
    """Lets the process for large pictures go on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def set(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@asynccontextmanager
async def busy(client: httpx.AsyncClient) -> AsyncIterator[Go]:
    """A large picture is being decoded, until it is let go."""
    own = decoders_of(client)
    await own.thumbnail(LARGE, 10, DEFAULT_LIMITS)
    (process,) = own._large._workers
    assert process._process
    os.kill(process._process.pid, signal.SIGSTOP)
    first, go = asyncio.create_task(own.thumbnail(LARGE, 10, DEFAULT_LIMITS)), Go(process._process.pid)

    async def is_at_it() -> bool:
        return bool(process.jobs)

    try:
        await asyncio.wait_for(eventually(is_at_it), 20)
        yield go
    finally:
        if not process.ended.done():
            go.set()
        await asyncio.gather(first, return_exceptions=True)


def ask(client: httpx.AsyncClient, data: bytes, path: str = "/v1/classify", **headers: str) -> Any:
    return asyncio.create_task(client.post(path, content=data, headers=headers))


async def test_a_large_picture_waits_half_a_second_and_is_then_refused(serve: Serve) -> None:
    async with serve(large_image_pixels=PIXELS) as client:
        assert (await ask(client, LARGE)).json()["predictions"][0]["label"] == "red"
        async with busy(client):
            began = asyncio.get_running_loop().time()
            refused = await asyncio.wait_for(ask(client, LARGE), 10)
            assert LARGE_IMAGE_WAIT_S <= asyncio.get_running_loop().time() - began < LARGE_IMAGE_WAIT_S + 2
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert int(refused.headers["Retry-After"]) >= 1
            assert "more than 16,000 pixels, and other pictures of more than 4,000," in refused.json()["detail"]
            assert waiting(client) == 0
        assert (await ask(client, LARGE)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "size", "status"),
    [
        ("PNG", (64, 62), 200),
        ("PNG", (64, 63), 503),
        ("WebP", (64, 63), 503),
        ("JPEG", (64, 250), 200),
        ("JPEG", (64, 251), 503),
    ],
)
async def test_what_is_large_depends_on_how_long_its_pixels_take(
    serve: Serve, kind: str, size: tuple[int, int], status: int
) -> None:
    async with serve(large_image_pixels=PIXELS) as client, busy(client):
        assert (await ask(client, encoded("red", kind, size))).status_code == status


async def test_one_whose_turn_comes_in_time_is_answered(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "PATIENCE_S", 1)  # a busy machine has its own
    async with serve(large_image_pixels=PIXELS) as client:
        async with busy(client) as go:
            request = ask(client, LARGE)
            await waits(client, 1)
            go.set()
            assert (await request).status_code == 200
        await asyncio.sleep(1)  # its patience ends, and it is answered already


async def test_small_pictures_go_on_meanwhile(serve: Serve) -> None:
    async with serve(large_image_pixels=PIXELS) as client, busy(client):
        large = [ask(client, LARGE) for _ in range(8)]
        answers = [await asyncio.wait_for(ask(client, SMALL), 10) for _ in range(20)]
        assert [answer.json()["predictions"][0]["label"] for answer in answers] == ["green"] * 20
        assert {(await each).status_code for each in large} == {503}


async def test_those_of_one_request_wait_for_each_other(serve: Serve) -> None:
    async with serve(large_image_pixels=PIXELS) as client:
        async with busy(client) as go:
            batch = asyncio.create_task(send(client, files(LARGE, SMALL, LARGE, LARGE)))
            await waits(client, 3)
            await asyncio.sleep(2 * LARGE_IMAGE_WAIT_S)
            assert waiting(client) == 3
            go.set()
        assert labels(await batch) == ["red", "green", "red", "red"]


async def test_a_request_of_many_does_not_keep_others_from_their_turn(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "PATIENCE_S", 20)
    async with serve(large_image_pixels=PIXELS) as client:
        order: list[str] = []

        async def done(name: str, work: asyncio.Task[httpx.Response]) -> None:
            assert (await work).status_code == 200
            order.append(name)

        async with busy(client) as go:
            batch = asyncio.create_task(send(client, files(*[encoded("red", size=(300, 200))] * 60)))
            await waits(client, 60)
            single = ask(client, LARGE)
            await waits(client, 61)
            go.set()
            await asyncio.gather(done("batch", batch), done("single", single))
        assert order == ["single", "batch"]


async def test_who_hangs_up_leaves_at_once(serve: Serve) -> None:
    async with serve(large_image_pixels=PIXELS) as client, busy(client):
        batch = asyncio.create_task(send(client, files(*[LARGE] * 5)))
        single = ask(client, LARGE)
        await waits(client, 6)
        for request in (batch, single):
            request.cancel()
        await asyncio.gather(batch, single, return_exceptions=True)
        assert waiting(client) == 0


async def test_a_deadline_ends_the_wait(serve: Serve) -> None:
    async with serve(large_image_pixels=PIXELS) as client, busy(client):
        headers = {"X-Request-Timeout-Ms": "200"}
        batch = await client.post("/v1/classify/batch", files=files(LARGE, LARGE), headers=headers)
        assert [item["error"]["code"] for item in batch.json()["items"]] == ["deadline_exceeded"] * 2
        assert waiting(client) == 0


async def test_a_process_that_has_yet_to_start_is_waited_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is for other pictures, and there are none."""
    async with serve(large_image_pixels=PIXELS) as client:
        assert (await ask(client, SMALL)).status_code == 200
        monkeypatch.setattr(wishes, "start", changed(f"import time; time.sleep({2 * LARGE_IMAGE_WAIT_S})"))
        assert (await asyncio.wait_for(ask(client, LARGE), 30)).status_code == 200


async def test_nothing_is_pending_when_the_server_has_closed(serve: Serve) -> None:
    async with serve(large_image_pixels=PIXELS) as client, busy(client):
        batch = asyncio.create_task(send(client, files(*[LARGE] * 5)))
        preview = asyncio.create_task(decoders_of(client).thumbnail(LARGE, 10, DEFAULT_LIMITS))
        await waits(client, 6)
        await decoders_of(client).close()
        response = await asyncio.wait_for(batch, 10)
        assert [item["error"]["code"] for item in response.json()["items"]] == ["draining"] * 5
        with pytest.raises(Exception, match="shutting down"):
            await asyncio.wait_for(preview, 10)


async def test_the_page_tells_what_a_large_picture_shows_even_where_it_cannot_show_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(large_image_pixels=PIXELS) as client:
        shown = await client.post("/", files={"file": LARGE})
        assert "The picture that you sent" in shown.text
        own, thumbnail = decoders_of(client), decoders_of(client).thumbnail

        async def behind_another(image: bytes, side: int, limits: Limits) -> bytes:
            monkeypatch.setattr(own, "thumbnail", thumbnail)
            async with busy(client):
                return await thumbnail(image, side, limits)

        monkeypatch.setattr(own, "thumbnail", behind_another)
        told = await client.post("/", files={"file": LARGE})
        assert told.status_code == 200
        assert "Most likely: red" in told.text
        assert "The picture that you sent" not in told.text


async def test_nobody_keeps_a_picture_that_nobody_waits_for(serve: Serve) -> None:
    async with serve(large_image_pixels=PIXELS) as client, busy(client):
        service, data = app_of(client).state.held.service, bytes(bytearray(LARGE))
        known = sys.getrefcount(data)
        request = asyncio.create_task(service.classify(data, [service.default]))
        await waits(client, 1)
        assert sys.getrefcount(data) > known
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        del request
        await asyncio.sleep(0)  # the event loop lets go of what was cancelled
        gc.collect()
        assert sys.getrefcount(data) == known


async def test_nobody_keeps_a_picture_that_was_answered(client: httpx.AsyncClient) -> None:
    service, data = app_of(client).state.held.service, bytes(bytearray(SMALL))
    known = sys.getrefcount(data)
    gc.collect()
    gc.disable()  # what knows itself would be kept until somebody looks for it: for long where objects are few
    try:
        await service.classify(data, [service.default])
        await asyncio.sleep(0)
        assert sys.getrefcount(data) == known
    finally:
        gc.enable()
