"""Global memory budget for request bodies."""

from __future__ import annotations

import threading

from app.errors import Overloaded

_RETRY_AFTER_S = 1.0


class MemoryBudget:
    """The bytes that all request bodies together may occupy."""

    def __init__(self, max_bytes: int) -> None:
        """Allow `max_bytes`; a single request may exceed them if it is the only one."""
        self.max_bytes, self.used_bytes = max_bytes, 0
        self.lock = threading.Lock()

    def lease(self) -> MemoryLease:
        """Return an empty lease for one request; call its `release` when the request ends."""
        return MemoryLease(self)


class MemoryLease:
    """The share of the budget that one request occupies. Safe to use from any thread."""

    def __init__(self, budget: MemoryBudget) -> None:
        """Start with no bytes."""
        self._budget, self._bytes = budget, 0
        self._is_released = False

    def acquire(self, count: int) -> None:
        """Reserve `count` more bytes; raises Overloaded if the budget is exhausted and other requests use it."""
        budget = self._budget
        with budget.lock:
            is_alone = budget.used_bytes == self._bytes
            if self._is_released or (budget.used_bytes + count > budget.max_bytes and not is_alone):
                raise Overloaded("The memory for request bodies is exhausted. Send the request again.", _RETRY_AFTER_S)
            budget.used_bytes += count
            self._bytes += count

    def move_to(self, budget: MemoryBudget) -> None:
        """Occupy another budget instead; raises Overloaded. For a lease that only the event loop uses."""
        count = self._bytes
        self.release()
        self._budget, self._is_released = budget, False
        self.acquire(count)

    def release(self) -> None:
        """Return all bytes; a thread that still unpacks for this request is stopped by its next `acquire`."""
        with self._budget.lock:
            self._budget.used_bytes -= self._bytes
            self._bytes, self._is_released = 0, True
