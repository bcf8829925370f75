"""Processes that share the pictures that wait: as many as there may be, started when all that run are busy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.batching.request import shutdown_error
from app.decoding.fair_queue import FairQueue
from app.decoding.worker_process import DecodeJob, DecodeWorker
from models.decoding.protocol import TOO_EXPENSIVE, Header
from models.errors import UndecodableImage

_MOST_FAILED_STARTS = 5

logger = logging.getLogger(__name__)


class WorkerPool:
    """Lives on one event loop."""

    def __init__(self, max_workers: int, max_jobs: int, on_answer: Callable[[DecodeJob, Header, bytes], None]) -> None:
        """Start nothing yet.

        Args:
            most: processes.
            ahead: jobs that each of them has at a time.
            on_answer: told a job that is wanted, and the header and the body of its answer.
        """
        self.queue: FairQueue[DecodeJob] = FairQueue()
        self._max_workers, self._max_jobs, self._on_answer = max_workers, max_jobs, on_answer
        self._workers = set[DecodeWorker]()
        self._starting = set[asyncio.Task[None]]()
        self._failed_starts = 0  # in a row
        self._is_closed = False

    @property
    def is_alive(self) -> bool:
        """Whether processes come up."""
        return self.is_up or self._failed_starts < _MOST_FAILED_STARTS

    @property
    def is_up(self) -> bool:
        """Whether one of them at least is."""
        return any(process.is_ready for process in self._workers)

    async def warm(self) -> None:
        """Start all of them, and wait until they are ready."""
        while len(self._workers) < self._max_workers:
            self._start_worker()
        await asyncio.wait([process.started for process in self._workers])  # which, cancelled, cancels none of them

    def submit(self, job: DecodeJob) -> None:
        """Put a job behind the others of its sender; raises Closed."""
        if self._is_closed:
            raise shutdown_error()
        self.queue.append(job.request, job)
        if len(self._workers) < self._max_workers and all(
            process.jobs for process in self._workers if process.is_ready
        ):
            self._start_worker()
        self._dispatch()

    async def close(self) -> None:
        """End all processes; jobs that wait or are being done fail."""
        self._is_closed = True
        left = self.queue.clear() + [job for process in self._workers for job in process.jobs]
        for job in left:
            job.reject(shutdown_error())
        await asyncio.gather(*self._starting)
        running = list(self._workers)
        for process in running:
            process.kill()
        await asyncio.gather(*(process.ended for process in running))

    def _dispatch(self) -> None:
        while self.queue and (process := self._least_loaded()):
            process.send(self.queue.pop())

    def _least_loaded(self) -> DecodeWorker | None:
        """The one with the least to do; where a system has killed several at once, none of those."""
        free = sorted((process for process in self._workers if process.has_room), key=_load)
        return next((process for process in free if process.is_running), None)

    def _start_worker(self) -> None:
        process = DecodeWorker(self._on_answer, self._dispatch, self._on_end, self._max_jobs)
        self._workers.add(process)
        task = asyncio.get_running_loop().create_task(self._start(process))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, process: DecodeWorker) -> None:
        try:
            await process.start()
        except Exception as error:  # too many processes or threads, or too little memory for one more
            logger.warning("A process that decodes pictures cannot be started: %s", error)
            self._workers.discard(process)
            if not self._workers:
                self._reject_all(MemoryError)

    def _on_end(self, process: DecodeWorker) -> None:
        self._workers.discard(process)
        if self._is_closed:
            return
        self._failed_starts = 0 if process.is_ready else self._failed_starts + 1
        if process.jobs:
            self._retry(process.jobs.popleft(), process.was_killed)
        for job in process.jobs:
            if job.is_active:
                self.queue.append(job.request, job)
        if not self.is_alive:
            self._reject_all(shutdown_error)
        elif self.queue:
            self._start_worker()
            self._dispatch()

    def _retry(self, job: DecodeJob, was_killed: bool) -> None:
        """A process ended over this one: for what it is, or because the system needed its memory for others."""
        if job.was_retried or not was_killed:
            job.reject(UndecodableImage(TOO_EXPENSIVE))
        elif job.is_active:
            job.was_retried = True
            self.queue.append(job.request, job)

    def _reject_all(self, error: Callable[[], BaseException]) -> None:
        for job in self.queue.clear():
            job.reject(error())


def _load(process: DecodeWorker) -> int:
    return process.load
