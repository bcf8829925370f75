"""A pool of decode workers that share one fair queue; a worker is started when all others are busy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.decoding.fair_queue import FairQueue
from app.decoding.job import DecodeJob
from app.decoding.worker_process import DecodeWorker
from app.errors import BatcherClosed
from models.decoding.errors import decoding_aborted
from models.decoding.protocol import ResponseHeader

_MAX_FAILED_STARTS = 5
"""Failed starts in a row after which the pool is dead if no worker runs. A judgement: a start that fails by chance, for
lack of memory or processes, is tried again; one that always fails ends the server within a second."""

logger = logging.getLogger(__name__)


class WorkerPool:
    """Dispatches jobs to worker processes. Lives on one event loop."""

    def __init__(
        self, max_workers: int, max_jobs: int, on_response: Callable[[DecodeJob, ResponseHeader, bytes], None]
    ) -> None:
        """Create the pool without any process.

        Args:
            max_workers: maximum number of processes.
            max_jobs: maximum number of jobs that a process has at a time.
            on_response: called with an active job, and the header and the body of its response.
        """
        self.queue: FairQueue[DecodeJob] = FairQueue()
        self._max_workers, self._max_jobs, self._on_response = max_workers, max_jobs, on_response
        self._workers = set[DecodeWorker]()
        self._starting = set[asyncio.Task[None]]()
        self._failed_starts = 0  # in a row
        self._is_closed = False

    @property
    def is_alive(self) -> bool:
        """Return False if no worker is ready and several in a row have failed to start."""
        return self.is_ready or self._failed_starts < _MAX_FAILED_STARTS

    @property
    def is_ready(self) -> bool:
        """Return True if a worker is ready."""
        return any(worker.is_ready for worker in self._workers)

    async def warm_up(self) -> None:
        """Start all workers, and wait until each is ready or has failed to start."""
        while len(self._workers) < self._max_workers:
            self._start_worker()
        await asyncio.wait([worker.started for worker in self._workers])  # if cancelled, it leaves the futures alone

    def submit(self, job: DecodeJob) -> None:
        """Queue a job behind the others of its request; raises BatcherClosed."""
        if self._is_closed:
            raise BatcherClosed.during_shutdown()
        self.queue.append(job.request, job)
        if len(self._workers) < self._max_workers and all(worker.jobs for worker in self._workers if worker.is_ready):
            self._start_worker()
        self._dispatch()

    def remove(self, job: DecodeJob) -> bool:
        """Remove a job from the queue; return False if it does not wait there."""
        return self.queue.remove(job.request, job)

    async def close(self) -> None:
        """End all processes; unfinished jobs fail with BatcherClosed."""
        self._is_closed = True
        for job in self.queue.clear() + [job for worker in self._workers for job in worker.jobs]:
            job.reject(BatcherClosed.during_shutdown())
        await asyncio.gather(*self._starting)
        workers = list(self._workers)
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.ended for worker in workers))

    def _dispatch(self) -> None:
        while not self.queue.is_empty and (worker := self._least_loaded()):
            worker.send(self.queue.pop())

    def _least_loaded(self) -> DecodeWorker | None:
        """Return the running worker with the least work; the system may have killed several at once."""
        free = sorted((worker for worker in self._workers if worker.has_room), key=_load)
        return next((worker for worker in free if worker.is_running), None)

    def _start_worker(self) -> None:
        worker = DecodeWorker(self._on_response, self._dispatch, self._on_end, self._max_jobs)
        self._workers.add(worker)
        task = asyncio.get_running_loop().create_task(self._start(worker))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, worker: DecodeWorker) -> None:
        try:
            await worker.start()
        except Exception as error:  # too many processes or threads, or too little memory for another one
            logger.warning("A decode worker cannot be started: %s", error)
            self._workers.discard(worker)
            if not self._workers:
                self._reject_all(MemoryError)

    def _on_end(self, worker: DecodeWorker) -> None:
        self._workers.discard(worker)
        jobs = worker.jobs.take_all()
        if self._is_closed:
            return
        self._failed_starts = 0 if worker.is_ready else self._failed_starts + 1
        if jobs:
            self._retry(jobs[0], worker.was_killed)
        for job in jobs[1:]:
            if job.is_active:
                self.queue.append(job.request, job)
        if not self.is_alive:
            self._reject_all(BatcherClosed.during_shutdown)
        elif not self.queue.is_empty:
            self._start_worker()
            self._dispatch()

    def _retry(self, job: DecodeJob, was_killed: bool) -> None:
        """Queue the job that a worker was decoding at its end once more if the worker was killed, else reject it.

        A worker is killed from outside when the system needs its memory, which may be no fault of the image.
        """
        if job.was_retried or not was_killed:
            job.reject(decoding_aborted())
        elif job.is_active:
            job.was_retried = True
            self.queue.append(job.request, job)

    def _reject_all(self, error: Callable[[], BaseException]) -> None:
        for job in self.queue.clear():
            job.reject(error())


def _load(worker: DecodeWorker) -> int:
    return worker.jobs.load
