"""Work is cancelled when its client disconnects; other cancellations and timeouts are left alone."""

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
    """A client whose request has been read, and that can disconnect."""

    def __init__(self) -> None:
        self.disconnected = asyncio.Event()
        self.request = Request({"type": "http"}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        await self.disconnected.wait()
        return {"type": "http.disconnect"}


class EndlessWork:
    """Work that never finishes."""

    def __init__(self) -> None:
        self.began, self.was_cancelled = asyncio.Event(), False

    async def __call__(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled = True


async def begin_work() -> tuple[Client, EndlessWork, asyncio.Task[None]]:
    client, work = Client(), EndlessWork()
    task = asyncio.create_task(cancel_on_disconnect(client.request, work()))
    await work.began.wait()
    return client, work, task


async def test_result_is_returned_and_no_task_remains() -> None:
    async def quick() -> int:
        return 42

    before = asyncio.all_tasks()
    assert await cancel_on_disconnect(Client().request, quick()) == 42
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_work_is_cancelled_when_the_client_disconnects() -> None:
    client, work, task = await begin_work()
    client.disconnected.set()
    with pytest.raises(ClientDisconnect):
        await task
    assert work.was_cancelled
    assert not task.cancelled()


def disconnect_then_cancel(client: Client, task: asyncio.Task[None]) -> None:
    client.disconnected.set()
    task.cancel()


def cancel_then_disconnect(client: Client, task: asyncio.Task[None]) -> None:
    task.cancel()
    client.disconnected.set()


@pytest.mark.parametrize("end", [disconnect_then_cancel, cancel_then_disconnect, lambda _, task: task.cancel()])
async def test_cancellation_by_the_server_propagates_whatever_the_client_does(
    end: Callable[[Client, asyncio.Task[None]], None],
) -> None:
    client, work, task = await begin_work()
    end(client, task)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.was_cancelled


async def test_timeout_raised_by_the_work_is_no_disconnect() -> None:
    async def raise_timeout() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await cancel_on_disconnect(Client().request, raise_timeout())
