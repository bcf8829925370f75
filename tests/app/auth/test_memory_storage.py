"""Rate limit counters in memory."""

from __future__ import annotations

import asyncio
import time

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter

from app.auth.memory_storage import HeapMemoryStorage
from tests.support.clocks import Clock, wall_clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return wall_clock(monkeypatch)


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


async def test_expired_counters_are_removed(clock: Clock) -> None:
    counters = HeapMemoryStorage()
    for number in range(1000):
        await counters.incr(str(number), 60)
    clock.advance(61)
    for _ in range(600):
        await counters.incr("another", 3600)
    assert (counters.storage, list(counters.expirations)) == ({"another": 600}, ["another"])


async def test_counters_of_callers_are_independent() -> None:
    limiter, item = FixedWindowRateLimiter(HeapMemoryStorage()), RateLimitItemPerMinute(2)
    assert [await limiter.hit(item, "a") for _ in range(3)] == [True, True, False]
    assert await limiter.hit(item, "b")


async def test_window_lasts_from_its_first_hit_whatever_hits_follow(clock: Clock) -> None:
    counters = HeapMemoryStorage()
    began = clock.now
    for seconds, count in ((0, 1), (30, 2), (59, 3), (60, 1), (61, 2), (119, 3), (120, 1)):
        clock.now = began + seconds
        assert await counters.incr("a", 60) == count, f"after {seconds} s"
        assert await counters.get_expiry("a") == began + 60 * (1 + seconds // 60)
    assert await counters.incr("b", 60, amount=3) == 3
    clock.advance(60)
    assert await counters.incr("b", 60) == 1, "a first hit may count several times"
