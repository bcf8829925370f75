"""Polling for a condition that no event signals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_INTERVAL_S = 0.01


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until an asynchronous condition is true; only the timeout of the test ends the wait otherwise."""
    while not await condition():  # noqa: ASYNC110 - conditions are read over HTTP, which has no events
        await asyncio.sleep(_INTERVAL_S)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until a condition is true; raises AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        time.sleep(_INTERVAL_S)
