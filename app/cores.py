"""The processor's cores, which decode images or run a batch, one kind of work at a time.

A batch is done when the last of its threads is: one that has to share its core with decoding keeps all the others
waiting. And what is decoded meanwhile could not run before the batch is over.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Cores:
    """Says when images may be decoded."""

    def __init__(self) -> None:
        """No batch runs."""
        self._running, self._closed = 0, False
        self._lock = threading.Lock()
        self._free = threading.Event()
        self._free.set()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """A batch has the cores; what is being decoded already goes on beside it."""
        with self._lock:
            self._running += 1
            if not self._closed:
                self._free.clear()
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._free.set()

    def wait(self) -> None:
        """Wait until no batch runs, in the thread that is going to decode."""
        self._free.wait()

    def close(self) -> None:
        """Let everybody go, even if a batch never ends: the process does, and waits for its threads."""
        with self._lock:
            self._closed = True
            self._free.set()
