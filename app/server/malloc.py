"""What the C library keeps of memory that was freed: given back to the system when the server comes to rest.

glibc takes the first large block that is freed for a reason to keep all later ones, of up to 32 MiB, in the heap of
each thread. That makes the next large body cheap, since no page is new. So nothing is changed while there is work.
"""

from __future__ import annotations

import ctypes
import platform

_RESTS_AFTER = 5


class IdleDetector:
    """Sees from a count of requests, looked at now and then, when memory may be given back."""

    def __init__(self) -> None:
        """Begin as a server that has nothing to give back."""
        self._requests = self._looks = 0
        self._worked = False

    def became_idle(self, requests: int) -> bool:
        """Whether, as of this look, nothing new has come for some looks, for the first time after some work."""
        self._looks = self._looks + 1 if requests == self._requests else 0
        self._worked = self._worked or requests != self._requests
        self._requests = requests
        if not self._worked or self._looks < _RESTS_AFTER:
            return False
        self._worked = False
        return True


def trim_heap() -> None:
    """Return what is free in all heaps to the system: milliseconds, on glibc; other C libraries are left alone."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
