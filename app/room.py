"""How much may be decoded at a time: pixels cost memory, however few bytes a picture was sent in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """A semaphore that counts pixels, for threads. Who comes first gets in first, so that a large picture does too."""

    def __init__(self, pixels: int) -> None:
        """Have room for so many pixels at a time, or for one picture that has more."""
        self._all = self._free = pixels
        self._turn = threading.Lock()
        self._freed = threading.Condition()

    @contextmanager
    def held(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for a picture, and keep it until the block ends."""
        taken = min(pixels, self._all)
        with self._turn, self._freed:
            self._freed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._freed:
                self._free += taken
                self._freed.notify()
