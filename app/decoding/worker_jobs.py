"""The jobs that one decode worker has, and the slots of shared memory in which it leaves their pixels."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from app.decoding.job import DecodeJob
from models.decoding.protocol import INLINE, SLOT_BYTES

_MAX_QUEUED_BYTES = 128 * 1024
"""Encoded bytes from which a worker gets no further job. A judgement: enough work for the time until the event loop
sends more, while a job that waits in the fair queue can still be cancelled, or decoded by another worker."""


class Assignment(NamedTuple):
    """A job that was sent to a worker."""

    job: DecodeJob
    size: int
    """Encoded bytes."""
    offset: int
    """Where its pixels go in the shared memory; INLINE if they follow the header of the response."""


class WorkerJobs:
    """Jobs in the order in which they were sent, which is that of their responses."""

    def __init__(self, max_jobs: int) -> None:
        """Create an empty list; the shared memory has a slot for each of `max_jobs`."""
        self.load = 0
        """Encoded bytes of all jobs."""
        self._max_jobs = max_jobs
        self._assignments: deque[Assignment] = deque()
        self._last_slot = 0

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self._assignments)

    def __iter__(self) -> Iterator[DecodeJob]:
        """Iterate over the jobs, the current one first."""
        return (assignment.job for assignment in self._assignments)

    @property
    def has_room(self) -> bool:
        """True if another job may be added; an idle worker takes a job of any size."""
        return not self._assignments or (len(self) < self._max_jobs and self.load < _MAX_QUEUED_BYTES)

    @property
    def current(self) -> Assignment:
        """The job that the worker decodes."""
        return self._assignments[0]

    def add(self, job: DecodeJob) -> Assignment:
        """Add a job that is about to be sent."""
        offset = self._next_offset() if 0 < job.options.response_bytes <= SLOT_BYTES else INLINE
        assignment = Assignment(job, len(job.data), offset)
        self._assignments.append(assignment)
        self.load += assignment.size
        return assignment

    def remove_current(self) -> None:
        """Remove the current job, whose response was handled."""
        self.load -= self._assignments.popleft().size

    def take_all(self) -> list[DecodeJob]:
        """Remove and return all jobs."""
        jobs = list(self)
        self._assignments.clear()
        self.load = 0
        return jobs

    def _next_offset(self) -> int:
        """Use the slots in turn: with one for each job, none is used again before its response was read."""
        self._last_slot = (self._last_slot + 1) % self._max_jobs
        return self._last_slot * SLOT_BYTES
