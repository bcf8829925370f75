"""Work for a client that hangs up, and what tells that from the end of the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.cancellation import cancel_on_disconnect

pytestmark = pytest.mark.anyio


class Client:
    """One whose request has been read, and who can hang up."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


class Work:
    """What is done for it: nothing, for ever."""

    def __init__(self) -> None:
        self.began, self.was_cancelled = asyncio.Event(), False

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled = True


async def begun() -> tuple[Client, Work, asyncio.Task[None]]:
    client, work = Client(), Work()
    task = asyncio.create_task(cancel_on_disconnect(client.request, work()))
    await work.began.wait()
    return client, work, task


async def test_a_result_is_given_and_nothing_goes_on_behind_it() -> None:
    async def quick() -> int:
        return 42

    before = asyncio.all_tasks()
    assert await cancel_on_disconnect(Client().request, quick()) == 42
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_who_hangs_up_has_the_work_cancelled() -> None:
    client, work, task = await begun()
    client.gone.set()
    with pytest.raises(ClientDisconnect):
        await task
    assert work.was_cancelled
    assert not task.cancelled()


def hang_up_first(client: Client, task: asyncio.Task[None]) -> None:
    client.gone.set()
    task.cancel()


def hang_up_last(client: Client, task: asyncio.Task[None]) -> None:
    task.cancel()
    client.gone.set()


@pytest.mark.parametrize("end", [hang_up_first, hang_up_last, lambda _, task: task.cancel()])
async def test_a_request_that_the_server_ends_is_cancelled_whatever_its_client_does(
    end: Callable[[Client, asyncio.Task[None]], None],
) -> None:
    client, work, task = await begun()
    end(client, task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.was_cancelled


async def test_a_timeout_of_the_work_is_none_of_the_client() -> None:
    async def slow() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await cancel_on_disconnect(Client().request, slow())
