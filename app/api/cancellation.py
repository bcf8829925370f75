"""Work that stops when nobody waits for it any longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.errors import DeadlineExceeded

T = TypeVar("T")


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work, and cancel it when the client hangs up.

    Args:
        request: whose body has been read.
        work: what to do for it.

    Raises:
        ClientDisconnect: the client hung up first.
    """
    patience = asyncio.timeout(None)  # tells its own cancellation from that of others, whenever they come
    try:
        async with patience:
            watcher = asyncio.create_task(_watch(request, patience))
            try:
                return await work
            finally:
                watcher.cancel()
    except TimeoutError as error:
        if patience.expired():
            raise ClientDisconnect from error
        raise


async def _watch(request: Request, patience: asyncio.Timeout) -> None:
    """End the patience when the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    patience.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def deadline_scope(deadline: float | None) -> AsyncIterator[None]:
    """Give up what runs within when the deadline passes."""
    remaining = None if deadline is None else deadline - time.monotonic()
    try:
        async with asyncio.timeout(remaining):
            yield
    except TimeoutError as error:
        raise DeadlineExceeded("The deadline passed before there was an answer. Allow more time.") from error
