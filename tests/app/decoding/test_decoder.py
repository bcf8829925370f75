"""The decoder with test workers that respond as each test needs, alone and within the app."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from app.decoding.decoder import ImageDecoder
from app.decoding.job import DecodeJob, RequestKey
from app.decoding.thumbnail import thumbnail
from app.errors import BatcherClosed, Overloaded
from app.inference import image_task
from app.inference.service import Service
from models.decoding import protocol
from models.decoding.errors import UndecodableImage
from models.decoding.limits import DEFAULT_LIMITS
from models.errors import DecoderUnavailable
from models.preprocess import resize_all
from tests.support.asgi import Serve, app_of
from tests.support.decode_worker import WAIT_S, patched_worker
from tests.support.decoder_pool import SCRIPTED_WORKER, SubmittedJob
from tests.support.encoded_images import encoded
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio

IMAGE = encoded()


@pytest.fixture
async def decoder(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ImageDecoder]:
    monkeypatch.setattr(protocol, "spawn", SCRIPTED_WORKER)
    decoder = ImageDecoder(1000)
    yield decoder
    await decoder.close()


def submit(decoder: ImageDecoder, data: bytes, request: RequestKey) -> SubmittedJob:
    submitted = SubmittedJob(data, request)
    decoder.submit(submitted.job)
    return submitted


async def test_larger_images_move_to_their_workers_and_are_decoded(decoder: ImageDecoder) -> None:
    images = (b"large 1", b"a", b"large 2", b"medium 1", b"b", b"large 3", b"medium 2")
    submitted = [submit(decoder, data, RequestKey(9)) for data in images]
    assert [await image.response() for image in submitted] == list(images)
    assert decoder._medium.is_ready
    assert decoder._large.is_ready


async def test_medium_images_do_not_wait_for_large_ones(decoder: ImageDecoder) -> None:
    warm = submit(decoder, b"large", RequestKey())
    assert await warm.response() == b"large"
    (worker,) = decoder._large._workers
    assert worker._process
    worker._process.send_signal(signal.SIGSTOP)
    large = [submit(decoder, b"large", RequestKey()) for _ in range(4)]
    medium = [submit(decoder, b"medium", RequestKey()) for _ in range(4)]
    assert [await image.response() for image in medium] == [b"medium"] * 4
    assert not any(image.responses for image in large)
    worker._process.send_signal(signal.SIGCONT)
    assert [await image.response() for image in large] == [b"large"] * 4


async def test_cancelled_jobs_get_no_response(decoder: ImageDecoder) -> None:
    await decoder.warm_up()
    cancelled = [submit(decoder, data, RequestKey(9)) for data in (b"nap", b"a", b"abort", b"large", b"number")]
    others = [submit(decoder, b"b", RequestKey()) for _ in range(4)]
    for image in cancelled:
        decoder.cancel(image.job)
    assert [await image.response() for image in others] == [b"b"] * 4
    workers = [worker for pool in decoder._pools for worker in pool._workers]
    await asyncio.wait_for(eventually(lambda: not any(worker.jobs for worker in workers)), WAIT_S)
    assert [image.responses for image in cancelled] == [[]] * 5


@pytest.mark.parametrize("seed", range(3))
async def test_every_job_gets_its_own_response_once(decoder: ImageDecoder, seed: int) -> None:
    chance = random.Random(seed)
    requests = [RequestKey(images) for images in (1, 2, 5, 64)]
    submitted, cancelled = list[SubmittedJob](), set[SubmittedJob]()
    for number in range(400):
        kind = chance.choices([b"", b"medium", b"large", b"abort", b"nothing"], [85, 10, 5, 0.5, 0.5])[0]
        size = chance.choice([0, 10, 1000, 50_000, 150_000])
        data = kind if kind in (b"abort", b"nothing") else kind + b"%d " % number + chance.randbytes(size)
        submitted.append(submit(decoder, data, chance.choice(requests)))
        image = chance.choice(submitted)
        if chance.random() < 0.2 and not image.responses:
            decoder.cancel(image.job)
            cancelled.add(image)
        if chance.random() < 0.2:
            for _ in range(chance.choice([1, 10, 100])):
                await asyncio.sleep(0)
    for image in submitted:
        if image in cancelled:
            assert not image.responses
        elif image.data in (b"abort", b"nothing"):
            with pytest.raises(UndecodableImage):
                await image.response()
        else:
            try:
                assert await image.response() == image.data
            except Overloaded:
                assert image.data.startswith((b"medium", b"large"))
                assert image.sender.images == 1


@pytest.mark.parametrize("path", ["/v1/classify", "/"])
@pytest.mark.parametrize(
    "response",
    ["{'seconds': 0.1}, b'short'", "{}, b''", "[], b''", "{'error': [], 'message': ''}, b''", "{'error': 'X'}, b''"],
)
async def test_invalid_response_of_a_worker_rejects_the_image(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str, response: str
) -> None:
    monkeypatch.setattr(protocol, "spawn", patched_worker(f"worker._handle = lambda request, data: ({response})"))
    async with serve() as client:
        rejected = await asyncio.wait_for(client.post(path, files={"file": IMAGE}), WAIT_S)
        assert rejected.status_code == 422


async def test_page_shows_a_decoded_thumbnail_and_rejects_an_undecodable_image(serve: Serve) -> None:
    async with serve() as client:
        assert "data:image/jpeg;base64," in (await client.post("/", files={"file": IMAGE})).text
        assert (await client.post("/", files={"file": IMAGE[:100]})).status_code == 422


async def test_server_is_dead_if_no_decode_worker_starts(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "spawn", patched_worker("raise SystemExit(1)"))
    async with serve() as client:
        assert (await client.get("/livez")).status_code == 200
        rejected = await asyncio.wait_for(client.post("/v1/classify", content=IMAGE), WAIT_S)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "draining")
        for path in ("/livez", "/readyz"):
            response = await client.get(path)
            assert (response.status_code, response.json()["code"]) == (503, "worker_died")


async def test_images_are_rejected_for_now_while_no_process_can_be_started(
    own_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_start(*_: object) -> Any:
        raise BlockingIOError("too many processes")

    with monkeypatch.context() as patched:
        patched.setattr(protocol, "spawn", cannot_start)
        rejected = await own_client.post("/v1/classify", content=IMAGE)
        assert (rejected.status_code, rejected.json()["code"]) == (503, "overloaded")
        assert (await own_client.get("/livez")).status_code == 200
    assert (await own_client.post("/v1/classify", content=IMAGE)).status_code == 200


def infer_request(side: int = 8) -> dict[str, Any]:
    grid = np.full((1, side, side, 3), (220, 20, 30))
    return {"inputs": [{"name": "pixels", "shape": grid.shape, "datatype": "UINT8", "data": grid.ravel().tolist()}]}


async def test_pixels_are_resized_in_a_thread(own_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, real = list[int](), resize_all

    def record_thread(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return real(*arguments)

    monkeypatch.setattr(image_task, "resize_all", record_thread)
    response = await own_client.post("/v2/models/colours/infer", json=infer_request())
    assert response.status_code == 200
    assert threads
    assert threading.get_ident() not in threads


async def test_error_of_the_resize_thread_reaches_the_client(
    own_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(image_task, "resize_all", fail)
        response = await asyncio.wait_for(own_client.post("/v2/models/colours/infer", json=infer_request()), WAIT_S)
        assert response.status_code == 503
    assert (await own_client.post("/v2/models/colours/infer", json=infer_request())).status_code == 200


async def test_thumbnail_that_arrives_after_the_cancellation_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, jobs = ImageDecoder(1000), list[DecodeJob]()
    monkeypatch.setattr(decoder, "submit", jobs.append)
    task = asyncio.create_task(thumbnail(decoder, IMAGE, 9, DEFAULT_LIMITS))
    await asyncio.sleep(0)
    task.cancel()  # and before the task has run:
    jobs[0].on_done({}, b"")
    jobs[0].on_error(MemoryError())
    with pytest.raises(asyncio.CancelledError):
        await task
    await decoder.close()


async def test_worker_error_that_is_no_fault_of_the_image_is_an_internal_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "spawn", patched_worker("worker.prepare = lambda *_: 1 / 0"))
    async with serve() as client:
        response = await client.post("/v1/classify", content=IMAGE)
        assert (response.status_code, "division" in response.text) == (500, False)


async def test_pixels_of_a_cancelled_request_are_not_processed(
    own_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    service: Service = app_of(own_client).state.app_state.manager.service
    calls, go = list[object](), threading.Event()
    monkeypatch.setattr(image_task, "resize_all", lambda *arguments: calls.append(arguments))
    threads = service.decoder._threads
    for _ in range(threads._max_workers):
        threads.submit(go.wait, WAIT_S)
    pixels = np.zeros((8, 8, 3), np.uint8)
    request = asyncio.create_task(service.classify([pixels] * 3, [service.models.default]))
    await eventually(lambda: threads._work_queue.qsize() == 3)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    go.set()
    await asyncio.to_thread(threads.shutdown)
    assert not calls
    (late,) = await service.classify([pixels], [service.models.default])
    assert isinstance(late, BatcherClosed)


async def test_warm_up_raises_if_no_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "spawn", patched_worker("raise SystemExit(1)"))
    decoder = ImageDecoder(1000)
    with pytest.raises(DecoderUnavailable, match="Allow more processes"):
        await decoder.warm_up()
    await decoder.close()
