"""Rate limit counters in this process."""

from __future__ import annotations

import heapq
import time

from limits.aio.storage import MemoryStorage

_EXPIRED_PER_HIT = 2  # one hit adds at most one window, so removing two keeps the table from growing


class HeapMemoryStorage(MemoryStorage):
    """MemoryStorage in which a hit costs O(log callers); the original scans all callers on the event loop."""

    def __init__(self) -> None:
        """Start with no counters."""
        super().__init__()
        self._ends: list[tuple[float, str]] = []  # heap of (end of window, counter)

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a counter and return its value; a window lasts `expiry` seconds from its first hit."""
        now = time.time()
        await self._remove_expired(now)
        count = await self.get(key) + amount
        self.storage[key] = count
        if count == amount:
            self.expirations[key] = now + expiry
            heapq.heappush(self._ends, (now + expiry, key))
        return count

    async def _remove_expired(self, now: float) -> None:
        for _ in range(_EXPIRED_PER_HIT):
            if not self._ends or self._ends[0][0] > now:
                return
            await self.get(heapq.heappop(self._ends)[1])  # removes the counter, unless a new window began
