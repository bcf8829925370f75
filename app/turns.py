"""Threads that serve many in turn: one job of each, round and round, who is new first, however many jobs one has."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from app.asked import shutting_down

Job = TypeVar("Job")

_MOST_NEW_IN_A_ROW = 4


class Turns(Generic[Job]):
    """Jobs that wait for a thread, each known by whose it is. From any thread."""

    def __init__(self, run: Callable[[Job], None], threads: int, name: str) -> None:
        """Start the threads; `run` does a job, and raises nothing."""
        self._run = run
        self._waiting: OrderedDict[Hashable, deque[Job]] = OrderedDict()
        self._served: set[Hashable] = set()  # of those who wait, who had a turn before
        self._new_in_a_row = 0
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs."""
        return all(thread.is_alive() for thread in self._threads)

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
                self._served.discard(whose)
            return True

    def close(self) -> list[Job]:
        """Take nothing more, and let the threads end, after what they are at; gives the jobs that still waited."""
        with self._changed:
            self._closed = True
            left = [job for jobs in self._waiting.values() for job in jobs]
            self._waiting.clear()
            self._served.clear()
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
            whose = self._whose_turn()
            jobs = self._waiting.pop(whose)
            job = jobs.popleft()
            self._served.discard(whose)
            if jobs:
                self._waiting[whose] = jobs  # behind everybody else
                self._served.add(whose)
            return job

    def _whose_turn(self) -> Hashable:
        """Who is new goes before those who had a turn, and so waits for what runs only; now and then it is theirs."""
        new = next((each for each in self._waiting if each not in self._served), None)
        if new is None or (self._served and self._new_in_a_row >= _MOST_NEW_IN_A_ROW):
            self._new_in_a_row = 0
            return next(each for each in self._waiting if each in self._served)
        self._new_in_a_row = self._new_in_a_row + 1 if self._served else 0
        return new
