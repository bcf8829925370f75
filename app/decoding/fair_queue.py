"""Who of many is served next: one job of each, round and round, who is new first, however many jobs one has."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Job = TypeVar("Job")

_MOST_NEW_IN_A_ROW = 4


class FairQueue(Generic[Job]):
    """Jobs that wait, each known by whose it is."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: OrderedDict[Hashable, deque[Job]] = OrderedDict()
        self._served: set[Hashable] = set()  # of those who wait, who had a turn before
        self._new_in_a_row = 0

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def __len__(self) -> int:
        """Jobs that wait."""
        return sum(map(len, self._waiting.values()))

    def append(self, key: Hashable, job: Job) -> None:
        """Put a job behind the others of the same one."""
        self._waiting.setdefault(key, deque()).append(job)

    def remove(self, key: Hashable, job: Job) -> bool:
        """Take a job out that nobody wants any more; False if it does not wait."""
        jobs = self._waiting.get(key, ())
        if not jobs or job not in jobs:
            return False
        jobs.remove(job)
        if not jobs:
            del self._waiting[key]
            self._served.discard(key)
        return True

    def pop(self) -> Job:
        """Take the job out whose turn it is; somebody must wait."""
        whose = self._next_key()
        jobs = self._waiting.pop(whose)
        job = jobs.popleft()
        self._served.discard(whose)
        if jobs:
            self._waiting[whose] = jobs  # behind everybody else
            self._served.add(whose)
        return job

    def clear(self) -> list[Job]:
        """Take all of them out."""
        left = [job for jobs in self._waiting.values() for job in jobs]
        self._waiting.clear()
        self._served.clear()
        return left

    def _next_key(self) -> Hashable:
        """Who is new goes before those who had a turn, so waits for what was given away; now and then it is theirs."""
        new = next((each for each in self._waiting if each not in self._served), None)
        if new is None or (self._served and self._new_in_a_row >= _MOST_NEW_IN_A_ROW):
            self._new_in_a_row = 0
            return next(each for each in self._waiting if each in self._served)
        self._new_in_a_row = self._new_in_a_row + 1 if self._served else 0
        return new
