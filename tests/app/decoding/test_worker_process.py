"""Who is told what of a picture, by processes that say more than pictures could make them say."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from app.decoding.decoder import ImageDecoder
from app.decoding.worker_process import DecodeJob, RequestKey
from app.errors import BatcherClosed, Overloaded
from app.inference import image_task as making
from models.decoding import protocol as wishes
from models.decoding.image import DEFAULT_LIMITS
from models.errors import NoDecoder, UndecodableImage
from models.preprocess import prepare_pixels
from tests.app.conftest import Serve
from tests.app.inference.test_load import app_of
from tests.support.decode_worker import WAIT_S, changed
from tests.support.decoder_pool import OBEDIENT, Asked
from tests.support.encoded_images import encoded

pytestmark = pytest.mark.anyio

PICTURE = encoded()


@pytest.fixture
async def decoders(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ImageDecoder]:
    monkeypatch.setattr(wishes, "start", OBEDIENT)
    decoders = ImageDecoder(1000)
    yield decoders
    await decoders.close()


def ask(decoders: ImageDecoder, data: bytes, sender: RequestKey) -> Asked:
    asked = Asked(data, sender)
    decoders.submit(asked.job)
    return asked


async def test_a_large_picture_is_handed_over_and_answered(decoders: ImageDecoder) -> None:
    asked = [ask(decoders, data, RequestKey(9)) for data in (b"large 1", b"a", b"large 2", b"b", b"large 3")]
    assert [await each.answer() for each in asked] == [each.data for each in asked]


async def test_nobody_is_told_of_what_was_withdrawn(decoders: ImageDecoder) -> None:
    await decoders.warm()
    withdrawn = [ask(decoders, data, RequestKey(9)) for data in (b"nap", b"a", b"abort", b"large", b"number")]
    asked = [ask(decoders, b"b", RequestKey()) for _ in range(4)]
    for each in withdrawn:
        decoders.cancel(each.job)
    assert [await each.answer() for each in asked] == [b"b"] * 4
    await asyncio.sleep(0.5)
    assert [each.answers for each in withdrawn] == [[]] * 5


@pytest.mark.parametrize("seed", range(3))
async def test_each_is_told_its_own_once_whatever_the_others_are(decoders: ImageDecoder, seed: int) -> None:
    chance = random.Random(seed)
    senders = [RequestKey(pictures) for pictures in (1, 2, 5, 64)]
    asked, withdrawn = list[Asked](), set[Asked]()
    for number in range(400):
        kind = chance.choices([b"", b"large", b"abort", b"nothing"], [90, 10, 0.5, 0.5])[0]
        size = chance.choice([0, 10, 1000, 50_000, 150_000])
        data = kind if kind in (b"abort", b"nothing") else kind + b"%d " % number + chance.randbytes(size)
        asked.append(ask(decoders, data, chance.choice(senders)))
        each = chance.choice(asked)
        if chance.random() < 0.2 and not each.answers:
            decoders.cancel(each.job)
            withdrawn.add(each)
        if chance.random() < 0.2:
            await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
    for each in asked:
        if each in withdrawn:
            assert not each.answers
        elif each.data in (b"abort", b"nothing"):
            with pytest.raises(UndecodableImage):
                await each.answer()
        else:
            try:
                assert await each.answer() == each.data
            except Overloaded:
                assert (each.data[:5], each.sender.images) == (b"large", 1)


@pytest.mark.parametrize("path", ["/v1/classify", "/"])
@pytest.mark.parametrize(
    "answer",
    ["{'seconds': 0.1}, b'short'", "{}, b''", "[], b''", "{'error': [], 'message': ''}, b''", "{'error': 'X'}, b''"],
)
async def test_an_answer_of_which_nothing_can_be_made_is_told_to_who_waits(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str, answer: str
) -> None:
    monkeypatch.setattr(wishes, "start", changed(f"apart._answer = lambda wish, data: ({answer})"))
    async with serve() as client:
        response = await asyncio.wait_for(client.post(path, files={"file": PICTURE}), WAIT_S)
        assert response.status_code == 422


async def test_a_picture_is_decoded_before_the_page_shows_it_and_an_error_then_is_told(serve: Serve) -> None:
    async with serve() as client:
        assert "data:image/jpeg;base64," in (await client.post("/", files={"file": PICTURE})).text
        assert (await client.post("/", files={"file": PICTURE[:100]})).status_code == 422


async def test_where_processes_do_not_come_up_the_server_is_dead(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "start", changed("raise SystemExit(1)"))
    async with serve() as client:
        assert (await client.get("/livez")).status_code == 200
        refused = await asyncio.wait_for(client.post("/v1/classify", content=PICTURE), WAIT_S)
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        for address in ("/livez", "/readyz"):
            answer = await client.get(address)
            assert (answer.status_code, answer.json()["code"]) == (503, "worker_died")


async def test_where_no_process_can_be_started_pictures_come_again_later(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_start(*_: object) -> Any:
        raise BlockingIOError("too many processes")

    with monkeypatch.context() as patched:
        patched.setattr(wishes, "start", cannot_start)
        refused = await client.post("/v1/classify", content=PICTURE)
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert (await client.get("/livez")).status_code == 200
    assert (await client.post("/v1/classify", content=PICTURE)).status_code == 200


def pixels(side: int = 8) -> dict[str, Any]:
    grid = np.full((1, side, side, 3), (220, 20, 30))
    return {"inputs": [{"name": "pixels", "shape": grid.shape, "datatype": "UINT8", "data": grid.ravel().tolist()}]}


async def test_what_is_decoded_already_is_resized_in_a_thread(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, real = list[int](), prepare_pixels

    def resize(*arguments: Any) -> Any:
        threads.append(threading.get_ident())
        return real(*arguments)

    monkeypatch.setattr(making, "prepare_pixels", resize)
    answer = await client.post("/v2/models/colours/infer", json=pixels())
    assert answer.status_code == 200
    assert threads
    assert threading.get_ident() not in threads


async def test_an_error_of_that_thread_is_told(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(making, "prepare_pixels", fail)
        answer = await asyncio.wait_for(client.post("/v2/models/colours/infer", json=pixels()), WAIT_S)
        assert answer.status_code == 503
    assert (await client.post("/v2/models/colours/infer", json=pixels())).status_code == 200


async def test_a_thumbnail_that_comes_when_nobody_waits_any_more_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    decoders, jobs = ImageDecoder(1000), list[DecodeJob]()
    monkeypatch.setattr(decoders, "start", jobs.append)
    asked = asyncio.create_task(decoders.thumbnail(PICTURE, 9, DEFAULT_LIMITS))
    await asyncio.sleep(0)
    asked.cancel()  # and before the event loop has told whoever asked:
    jobs[0].on_done({}, b"")
    jobs[0].on_error(MemoryError())
    with pytest.raises(asyncio.CancelledError):
        await asked
    await decoders.close()


async def test_what_is_no_fault_of_the_picture_s_is_a_fault_of_ours(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wishes, "start", changed("apart.prepared = lambda *_: 1 / 0"))
    async with serve() as client:
        response = await client.post("/v1/classify", content=PICTURE)
        assert (response.status_code, "division" in response.text) == (500, False)


async def test_pixels_of_a_request_that_is_over_are_not_looked_at(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, looked = app_of(client).state.held.service, list[object]()
    monkeypatch.setattr(making, "prepare_pixels", lambda *given: looked.append(given))
    go = threading.Event()
    for _ in range(service.decoders._threads._max_workers):
        service.decoders._threads.submit(go.wait, WAIT_S)
    pixels = np.zeros((8, 8, 3), np.uint8)
    asked = asyncio.create_task(service.classify_all([pixels] * 3, [service.default]))
    await asyncio.sleep(0.05)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    go.set()
    await asyncio.to_thread(service.decoders._threads.shutdown)
    assert not looked
    (late,) = await service.classify_all([pixels], [service.default])
    assert isinstance(late, BatcherClosed)


async def test_where_no_process_comes_up_there_is_nothing_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "start", changed("raise SystemExit(1)"))
    decoders = ImageDecoder(1000)
    with pytest.raises(NoDecoder, match="Allow more processes"):
        await decoders.warm()
    await decoders.close()
