"""Processes that share the pictures that wait: as many as there may be, started when all that run are busy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from app.batching.request import shutting_down
from app.decoding.fair_queue import Turns
from app.decoding.worker_process import Job, Process
from models.decoding.protocol import TOO_MUCH, Header
from models.errors import UndecodableImage

_MOST_FAILED_STARTS = 5

logger = logging.getLogger(__name__)


class Pool:
    """Lives on one event loop."""

    def __init__(self, most: int, ahead: int, on_answer: Callable[[Job, Header, bytes], None]) -> None:
        """Start nothing yet.

        Args:
            most: processes.
            ahead: jobs that each of them has at a time.
            on_answer: told a job that is wanted, and the header and the body of its answer.
        """
        self.turns: Turns[Job] = Turns()
        self._most, self._ahead, self._on_answer = most, ahead, on_answer
        self._processes = set[Process]()
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
        return any(process.is_ready for process in self._processes)

    async def warm(self) -> None:
        """Start all of them, and wait until they are ready."""
        while len(self._processes) < self._most:
            self._begin()
        await asyncio.wait([process.up for process in self._processes])  # which, cancelled, cancels none of them

    def join(self, job: Job) -> None:
        """Put a job behind the others of its sender; raises Closed."""
        if self._is_closed:
            raise shutting_down()
        self.turns.join(job.sender, job)
        if len(self._processes) < self._most and all(process.jobs for process in self._processes if process.is_ready):
            self._begin()
        self._serve()

    async def close(self) -> None:
        """End all processes; jobs that wait or are being done fail."""
        self._is_closed = True
        left = self.turns.clear() + [job for process in self._processes for job in process.jobs]
        for job in left:
            job.refuse(shutting_down())
        await asyncio.gather(*self._starting)
        running = list(self._processes)
        for process in running:
            process.kill()
        await asyncio.gather(*(process.ended for process in running))

    def _serve(self) -> None:
        while self.turns and (process := self._free()):
            process.give(self.turns.next())

    def _free(self) -> Process | None:
        """The one with the least to do; where a system has killed several at once, none of those."""
        free = sorted((process for process in self._processes if process.has_room), key=_load)
        return next((process for process in free if process.runs), None)

    def _begin(self) -> None:
        process = Process(self._on_answer, self._serve, self._on_end, self._ahead)
        self._processes.add(process)
        task = asyncio.get_running_loop().create_task(self._start(process))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, process: Process) -> None:
        try:
            await process.start()
        except Exception as error:  # too many processes or threads, or too little memory for one more
            logger.warning("A process that decodes pictures cannot be started: %s", error)
            self._processes.discard(process)
            if not self._processes:
                self._refuse_all(MemoryError)

    def _on_end(self, process: Process) -> None:
        self._processes.discard(process)
        if self._is_closed:
            return
        self._failed_starts = 0 if process.is_ready else self._failed_starts + 1
        if process.jobs:
            self._try_again(process.jobs.popleft(), process.was_killed)
        for job in process.jobs:
            if job.is_wanted:
                self.turns.join(job.sender, job)
        if not self.is_alive:
            self._refuse_all(shutting_down)
        elif self.turns:
            self._begin()
            self._serve()

    def _try_again(self, job: Job, was_killed: bool) -> None:
        """A process ended over this one: for what it is, or because the system needed its memory for others."""
        if job.was_lost or not was_killed:
            job.refuse(UndecodableImage(TOO_MUCH))
        elif job.is_wanted:
            job.was_lost = True
            self.turns.join(job.sender, job)

    def _refuse_all(self, error: Callable[[], BaseException]) -> None:
        for job in self.turns.clear():
            job.refuse(error())


def _load(process: Process) -> int:
    return process.load
