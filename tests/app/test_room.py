"""What is decoded at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import FastAPI

from app.room import Room
from tests.app.conftest import eventually, is_ready, running
from tests.app.pictures import encoded


def test_there_is_never_more_than_the_room_has_and_everybody_gets_in() -> None:
    shared, lock, held, most = Room(10), threading.Lock(), 0, 0

    def take(pixels: int) -> None:
        nonlocal held, most
        with shared.held(pixels):
            with lock:
                held += pixels
                most = max(most, held)
            with lock:
                held -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, [3, 10, 1, 5, 7, 2, 4, 9] * 50))
    assert most <= 10


def test_a_picture_that_is_larger_than_the_room_is_alone_in_it() -> None:
    shared, waits = Room(10), threading.Event()

    def follow() -> None:
        waits.set()
        with shared.held(1):
            assert over.is_set(), "it got in beside one that takes it all"

    over = threading.Event()
    with ThreadPoolExecutor() as pool:
        with shared.held(1_000):
            follower = pool.submit(follow)
            assert waits.wait(20)
            over.set()
        follower.result(20)


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/classify", "/v1/classify/batch", "/"])
async def test_no_picture_is_decoded_where_there_is_no_room(make_app: Callable[..., FastAPI], path: str) -> None:
    app = make_app()
    async with running(app) as client:
        await eventually(lambda: is_ready(client))
        service = app.state.held.service
        with service.decoders.room.held(service.limits.max_pixels):
            field = "files" if path.endswith("batch") else "file"
            asked = asyncio.create_task(client.post(path, files={field: encoded()}))
            assert not (await asyncio.wait({asked}, timeout=0.3))[0]
        assert (await asked).status_code == 200
