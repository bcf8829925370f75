"""Counters of rate limits in this process."""

from __future__ import annotations

import heapq
import time

from limits.aio.storage import MemoryStorage

_FORGOTTEN_AT_ONCE = 2  # more than one is added each time, so that they never become more


class HeapMemoryStorage(MemoryStorage):
    """MemoryStorage, but a hit costs O(log callers): it looks through all of them at each, within the event loop."""

    def __init__(self) -> None:
        """Have counted nothing."""
        super().__init__()
        self._ends: list[tuple[float, str]] = []  # a heap: when each window that has begun is over

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count, in a window of `expiry` seconds that begins with the first; gives the count."""
        now = time.time()
        await self._forget(now)
        count = await self.get(key) + amount
        self.storage[key] = count
        if count == amount:
            self.expirations[key] = now + expiry
            heapq.heappush(self._ends, (now + expiry, key))
        return count

    async def _forget(self, now: float) -> None:
        for _ in range(_FORGOTTEN_AT_ONCE):
            if not self._ends or self._ends[0][0] > now:
                return
            await self.get(heapq.heappop(self._ends)[1])  # forgets it, unless it counts again in a new window
