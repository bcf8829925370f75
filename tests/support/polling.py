"""Waiting for a condition that no event announces; the timeout of the test bounds the wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_INTERVAL_S = 0.01


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until an asynchronous condition is true."""
    while not await holds():  # noqa: ASYNC110 - the condition lies beyond HTTP, which has no events
        await asyncio.sleep(_INTERVAL_S)


def wait_until(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until a condition is true; raises AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        time.sleep(_INTERVAL_S)
