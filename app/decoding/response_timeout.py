"""Detect a decode worker that does not respond."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

RESPONSE_TIMEOUT_S = 30.0
"""Time for a worker to start, and for each response. A judgement: the limits of an image (SECURITY.md) keep a decode
well below it, even on a busy machine, so that only a worker that hangs reaches it."""

_RECHECK_S = 0.1
"""Extra time after the timeout: if the event loop was blocked, the response may be there, but has not been read."""


class ResponseTimeout:
    """Calls back when a response is overdue.

    There is one timer at a time, which is not moved for each job but checks, when it fires, how long the worker has
    been waited for.
    """

    def __init__(self, is_waiting: Callable[[], bool], on_timeout: Callable[[], None]) -> None:
        """Create it without a timer; `is_waiting` tells whether a response is awaited."""
        self._loop = asyncio.get_running_loop()
        self._is_waiting, self._on_timeout = is_waiting, on_timeout
        self._since = 0.0
        self._is_overdue = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to wait for a response."""
        self.restart()
        if self._timer is None:
            self._timer = self._loop.call_later(RESPONSE_TIMEOUT_S, self._check)

    def restart(self) -> None:
        """Measure the time from now on, because a response was received."""
        self._since, self._is_overdue = self._loop.time(), False

    def stop(self) -> None:
        """Cancel the timer."""
        if self._timer:
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if not self._is_waiting():
            return
        left_s = self._since + RESPONSE_TIMEOUT_S - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._check)
        elif not self._is_overdue:
            self._is_overdue = True
            self._timer = self._loop.call_later(_RECHECK_S, self._check)
        else:
            self._on_timeout()
