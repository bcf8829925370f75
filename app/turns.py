"""Threads that serve many in turn: one job of each, round and round, however many jobs one of them has."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from app.asked import shutting_down

Job = TypeVar("Job")


class Turns(Generic[Job]):
    """Jobs that wait for a thread, each known by whose it is. From any thread."""

    def __init__(self, run: Callable[[Job], None], threads: int, name: str) -> None:
        """Start the threads; `run` does a job, and raises nothing."""
        self._run = run
        self._waiting: OrderedDict[Hashable, deque[Job]] = OrderedDict()  # whose turn is next stands first
        self._changed = threading.Condition()
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def join(self, whose: Hashable, job: Job) -> None:
        """Put a job behind the others of the same one; raises Closed."""
        with self._changed:
            if self._closed:
                raise shutting_down()
            self._waiting.setdefault(whose, deque()).append(job)
            self._changed.notify()

    def leave(self, whose: Hashable, job: Job) -> bool:
        """Take a job out that nobody wants any more; False if it does not wait."""
        with self._changed:
            jobs = self._waiting.get(whose, ())
            if not jobs or job not in jobs:
                return False
            jobs.remove(job)
            if not jobs:
                del self._waiting[whose]
            return True

    def close(self) -> list[Job]:
        """Take nothing more, and let the threads end, after what they are at; gives the jobs that still waited."""
        with self._changed:
            self._closed = True
            left = [job for jobs in self._waiting.values() for job in jobs]
            self._waiting.clear()
            self._changed.notify_all()
        return left

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._run(job)
            del job  # a thread that sleeps keeps nobody's picture

    def _next(self) -> Job | None:
        """Sleep until there is a job; None when none will follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            whose, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[whose] = jobs  # behind everybody else
            return job
