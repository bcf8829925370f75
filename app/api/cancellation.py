"""Cancel the work for a request when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

T = TypeVar("T")


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work and return its result; cancel it when the client disconnects.

    Args:
        request: the request, whose body has been read.
        work: the coroutine to run.

    Raises:
        ClientDisconnect: the client disconnected first.
    """
    scope = asyncio.timeout(None)  # distinguishes its own cancellation from that of others
    try:
        async with scope:
            watcher = asyncio.create_task(_watch(request, scope))
            try:
                return await work
            finally:
                watcher.cancel()
    except TimeoutError as error:
        if scope.expired():
            raise ClientDisconnect from error
        raise


async def _watch(request: Request, scope: asyncio.Timeout) -> None:
    """Expire the scope when the client disconnects."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.reschedule(asyncio.get_running_loop().time())
