"""Whether the batches of a network come to an end, and to a good one: a device can die while its thread lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_FAILURES, FAILING_S = 16, 10.0
"""Batches that may fail in a row in one thread, and for how long: what lacks memory for a moment is not dead."""
MAX_BATCH_S = 120.0
"""For one batch."""


class Watchdog:
    """What `app.batching.batcher` tells of each batch; from any thread."""

    def __init__(self) -> None:
        """Know of no batch."""
        self._began: dict[int, float] = {}
        self._failing: dict[int, tuple[int, float]] = {}  # thread -> failures since its last success, time of the first

    @property
    def is_healthy(self) -> bool:
        """Whether no thread fails at all its batches, and none has been at one for minutes."""
        now = time.monotonic()
        is_stuck = any(now - began > MAX_BATCH_S for began in [*self._began.values()])
        fails = [count >= MAX_FAILURES and now - since > FAILING_S for count, since in [*self._failing.values()]]
        return not is_stuck and not any(fails)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Run a batch in this thread; it has failed if the block raises."""
        thread, now = threading.get_ident(), time.monotonic()
        self._began[thread] = now
        try:
            yield
        except BaseException:
            count, since = self._failing.get(thread, (0, now))
            self._failing[thread] = (count + 1, since)
            raise
        else:
            self._failing.pop(thread, None)
        finally:
            del self._began[thread]
