"""Detect when the server becomes idle, so that it can return freed memory to the system.

glibc raises its threshold when the first large block is freed, and then keeps later blocks of up to 32 MiB in the heap
of each thread. That makes the next large body cheap, so nothing is returned while there is work.
"""

from __future__ import annotations

_IDLE_TICKS = 5  # of a tenth of a second


class IdleDetector:
    """Detects idle periods from a request counter that is sampled at every tick."""

    def __init__(self) -> None:
        """Start as a server that has done no work."""
        self._requests = self._idle_ticks = 0
        self._has_worked = False

    def became_idle(self, requests: int) -> bool:
        """Return True once after each period of work, when no request has come for `_IDLE_TICKS` ticks.

        Args:
            requests: total number of requests so far.
        """
        self._idle_ticks = self._idle_ticks + 1 if requests == self._requests else 0
        self._has_worked = self._has_worked or requests != self._requests
        self._requests = requests
        if not self._has_worked or self._idle_ticks < _IDLE_TICKS:
            return False
        self._has_worked = False
        return True
