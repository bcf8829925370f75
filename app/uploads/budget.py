"""Bytes of bodies that are held at a time, over all requests: many of an allowed size are too many together."""

from __future__ import annotations

import threading

from app.errors import Overloaded

_RETRY_AFTER_S = 1.0


class MemoryBudget:
    """The bytes that all requests hold."""

    def __init__(self, max_bytes: int) -> None:
        """Allow so many, or one request that alone has more."""
        self.most, self.used_bytes = max_bytes, 0
        self.lock = threading.Lock()

    def lease(self) -> MemoryLease:
        """What one request holds, nothing yet; `give_back` must follow."""
        return MemoryLease(self)


class MemoryLease:
    """What one request holds of them. From any thread."""

    def __init__(self, bodies: MemoryBudget) -> None:
        """Hold nothing yet."""
        self._bodies, self._count = bodies, 0
        self._is_over = False

    def acquire(self, count: int) -> None:
        """Hold so many bytes more; raises Overloaded where that is too many, unless nobody else holds any."""
        bodies = self._bodies
        with bodies.lock:
            is_alone = bodies.used_bytes == self._count
            if self._is_over or (bodies.used_bytes + count > bodies.most and not is_alone):
                raise Overloaded(
                    "The server holds as many bytes of requests as it can. Send this one again later.", _RETRY_AFTER_S
                )
            bodies.used_bytes += count
            self._count += count

    def release(self) -> None:
        """The request is over; a thread that goes on unpacking for it is stopped by its next `take`."""
        with self._bodies.lock:
            self._bodies.used_bytes -= self._count
            self._count, self._is_over = 0, True
