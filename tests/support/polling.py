"""Polling for a condition that no event signals."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

_INTERVAL_S = 0.01


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until a condition is true; only the timeout of the test ends the wait otherwise."""
    while True:
        result = condition()
        if await result if inspect.isawaitable(result) else result:
            return
        await asyncio.sleep(_INTERVAL_S)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    """Wait until a condition is true; raises AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        time.sleep(_INTERVAL_S)


def highest(measure: Callable[[], int], seconds: float) -> int:
    """Measure again and again for some time, and return the highest value."""
    end, values = time.monotonic() + seconds, [measure()]
    while time.monotonic() < end:
        time.sleep(_INTERVAL_S)
        values.append(measure())
    return max(values)
