"""Threads in which archives are unpacked, apart from all other threads, in short turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from app.errors import Overloaded
from app.threads import lower_thread_priority
from models.cpu import available_cores

T = TypeVar("T")

_TURN_S = 0.02
_MAX_REQUESTS = 64
"""More requests would wait longer than a second for each of their turns, and are rejected."""

_RETRY_AFTER_S = 1.0


class ArchiveThreads:
    """One thread per two cores, and at least one, in which requests take turns to unpack their archives.

    A turn ends with the first file after 20 ms. Requests that are cancelled get no further turn, so that nothing has to
    be stopped: what may still run is one turn. Used on the event loop only.
    """

    def __init__(self) -> None:
        """Start no thread yet."""
        self._threads = ThreadPoolExecutor(max(1, available_cores() // 2), "unpack", lower_thread_priority)
        self._requests = 0

    @property
    def requests(self) -> int:
        """Number of requests that unpack archives."""
        return self._requests

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request that unpacks archives within the context; raises Overloaded if there are too many."""
        if self._requests >= _MAX_REQUESTS:
            raise Overloaded("Too many requests with archives are unpacked. Send the request again.", _RETRY_AFTER_S)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def collect(self, items: Iterator[T]) -> list[T]:
        """Return all items of an iterator, which runs in these threads; raises what it raises."""
        loop, collected, has_ended = asyncio.get_running_loop(), list[T](), False
        while not has_ended:
            taken, has_ended = await loop.run_in_executor(self._threads, _take_turn, items)
            collected += taken
        return collected

    def close(self) -> None:
        """Wait for the turns that run, and end the threads."""
        self._threads.shutdown(cancel_futures=True)


def _take_turn(items: Iterator[T]) -> tuple[list[T], bool]:
    """Return the next items of an iterator, and whether it has ended."""
    ends, taken = time.monotonic() + _TURN_S, list[T]()
    for item in items:
        taken.append(item)
        if time.monotonic() >= ends:
            return taken, False
    return taken, True
