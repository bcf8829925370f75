"""Whether the batches of a network come to an end, and to a good one: a device can die while its thread lives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MOST_FAILURES = 16
"""Batches that may fail in a row: more is no matter of what was in them."""
LONGEST_S = 120.0
"""For one batch."""


class Vitals:
    """What `app.batcher` tells of each batch; from any thread."""

    def __init__(self) -> None:
        """Know of no batch."""
        self._failures = 0
        self._began: dict[int, float] = {}

    @property
    def are_good(self) -> bool:
        """Whether batches do not all fail, and none has been running for minutes."""
        oldest = min([*self._began.values()], default=time.monotonic())
        return self._failures < MOST_FAILURES and time.monotonic() - oldest < LONGEST_S

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run a batch in this thread; it has failed if the block raises."""
        thread = threading.get_ident()
        self._began[thread] = time.monotonic()
        try:
            yield
        except BaseException:
            self._failures += 1
            raise
        else:
            self._failures = 0
        finally:
            del self._began[thread]
