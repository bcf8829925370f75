"""Fair queue: round-robin over requests, new requests first."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Job = TypeVar("Job")

_MAX_NEW_IN_A_ROW = 4
"""Jobs of new requests in a row while older requests wait. A judgement: a larger number delays requests of many images
more, a smaller one those of a single image."""


class FairQueue(Generic[Job]):
    """Jobs grouped by the request that they belong to."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, deque[Job]] = OrderedDict()
        self._served: set[Hashable] = set()  # waiting requests of which a job has been served
        self._new_in_a_row = 0

    @property
    def is_empty(self) -> bool:
        """True if no job waits."""
        return not self._waiting

    def __len__(self) -> int:
        """Return the number of waiting jobs."""
        return sum(map(len, self._waiting.values()))

    @property
    def requests(self) -> int:
        """Number of requests with a waiting job."""
        return len(self._waiting)

    def append(self, request: Hashable, job: Job) -> None:
        """Add a job behind the others of its request."""
        self._waiting.setdefault(request, deque()).append(job)

    def remove(self, request: Hashable, job: Job) -> bool:
        """Remove a cancelled job; return False if it does not wait."""
        jobs = self._waiting.get(request, ())
        if not jobs or job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self._waiting[request]
            self._served.discard(request)
        return True

    def pop(self) -> Job:
        """Remove and return the next job; the queue must not be empty."""
        request = self._next_request()
        jobs = self._waiting.pop(request)
        job = jobs.popleft()
        self._served.discard(request)
        if jobs:
            self._waiting[request] = jobs  # behind all other requests
            self._served.add(request)
        return job

    def clear(self) -> list[Job]:
        """Remove and return all jobs."""
        remaining = [job for jobs in self._waiting.values() for job in jobs]
        self._waiting.clear()
        self._served.clear()
        return remaining

    def _next_request(self) -> Hashable:
        """Return the oldest new request, so that it does not wait for others, or now and then the oldest served one."""
        new = next((request for request in self._waiting if request not in self._served), None)
        if new is None or (self._served and self._new_in_a_row >= _MAX_NEW_IN_A_ROW):
            self._new_in_a_row = 0
            return next(request for request in self._waiting if request in self._served)
        self._new_in_a_row = self._new_in_a_row + 1 if self._served else 0
        return new
