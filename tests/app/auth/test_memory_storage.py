"""Rate limit counters in memory."""

from __future__ import annotations

import asyncio
import time

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerSecond
from limits.aio.strategies import FixedWindowRateLimiter

from app.auth.memory_storage import HeapMemoryStorage

pytestmark = pytest.mark.anyio

CALLERS = 50_000
CPU_S = 0.5  # about a hundred times what 500 hits take; less than they take if each hit scans all callers


async def test_cost_of_a_hit_does_not_grow_with_the_number_of_callers() -> None:
    limiter, item = FixedWindowRateLimiter(HeapMemoryStorage()), RateLimitItemPerHour(10)
    for number in range(CALLERS):
        await limiter.hit(item, str(number))
    before = time.process_time()
    for number in range(500):
        assert await limiter.hit(item, str(number))
        await asyncio.sleep(0)
    assert time.process_time() - before < CPU_S


async def test_expired_counters_are_removed() -> None:
    counters = HeapMemoryStorage()
    for number in range(1000):
        await counters.incr(str(number), 0.01)
    await asyncio.sleep(0.02)
    for _ in range(600):
        await counters.incr("another", 3600)
    assert (counters.storage, list(counters.expirations)) == ({"another": 600}, ["another"])


async def test_new_window_begins_when_the_previous_one_has_ended() -> None:
    limiter, item = FixedWindowRateLimiter(HeapMemoryStorage()), RateLimitItemPerSecond(2, 3600)
    assert [await limiter.hit(item, "a") for _ in range(3)] == [True, True, False]
    assert await limiter.hit(item, "b")
    counters = HeapMemoryStorage()
    assert await counters.incr("a", 0.01) == 1
    await asyncio.sleep(0.02)
    assert [await counters.incr("a", 3600) for _ in range(2)] == [1, 2]
