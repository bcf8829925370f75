"""Items of many callers -> one call -> each caller's own result. Knows no images.

    reserve() ──▶ place ──submit(item)──▶ line ──take up to max_batch──▶ run(items) ──▶ each one's future
       │                     │                      │                       │
       Overloaded, Closed    Closed                 DeadlineExceeded        BatchFailed
       DeadlineUnmeetable

A thread for each lane runs the batches. While all are busy the next batch fills (late binding); one that is free takes
what there is, at once unless `max_delay_s` is set. No future is ever left pending, whatever becomes of a thread.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.errors import BatchFailed, Closed, DeadlineExceeded, ServiceError
from app.line import Batch, Entry, Line

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Run = Callable[[Sequence[Item]], Sequence[Result]]
clock = time.monotonic


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """One item's result, and what its batch cost."""

    result: Result
    queue_s: float
    run_s: float
    batch_size: int


@dataclass(eq=False)
class _Asked(Generic[Item, Result]):
    """An item and the future of its caller."""

    item: Item
    future: asyncio.Future[Outcome[Result]]


_Answers = list[tuple[Entry["_Asked[Item, Result]"], "Outcome[Result] | ServiceError"]]


class Place:
    """Places that are held for items, from a reservation until their results are there."""

    def __init__(self, deadline: float | None) -> None:
        """Hold them from now on."""
        self.deadline, self.since = deadline, clock()
        self._is_first = True

    def lead_s(self, now: float) -> float | None:
        """How long the first of its items took to make; the others waited for each other."""
        is_first, self._is_first = self._is_first, False
        return now - self.since if is_first else None


class Batcher(Generic[Item, Result]):
    """Runs the items of many coroutines of one event loop in batches, in threads of its own."""

    def __init__(
        self,
        *runs: Run[Item, Result],
        name: str,
        max_batch: int,
        places: int,
        max_delay_s: float = 0.0,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        """Start the threads; to be called on the event loop that will submit.

        Args:
            runs: each makes a lane of its own: items -> as many results, in their order; one call at a time.
            name: of the threads.
            max_batch: items of one call at most.
            places: items that may be reserved, waiting or running at a time.
            max_delay_s: how long the oldest item waits at most for its batch to fill; less where nobody comes.
            on_batch: told the size and the seconds of each batch, from a thread.
        """
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._line: Line[_Asked[Item, Result]] = Line(
            places=places, max_batch=max_batch, max_delay_s=max_delay_s, lanes=len(runs)
        )
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, args=[run], name=name, daemon=True) for run in runs]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Items that wait for a batch."""
        return self._line.depth

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs."""
        return all(thread.is_alive() for thread in self._threads)

    @contextmanager
    def reserve(self, count: int = 1, deadline: float | None = None) -> Iterator[Place]:
        """Hold places for items that are still being made, until their results are there.

        Args:
            count: of items.
            deadline: `time.monotonic()` after which nobody wants their results.

        Raises:
            Overloaded: fewer places are free.
            DeadlineUnmeetable: by all that is known, the results would come too late.
            Closed: the batcher is closing.
        """
        place = Place(deadline)
        with self._changed:
            self._check_open()
            self._line.reserve(count, place.since, deadline)
        try:
            yield place
        finally:
            with self._changed:
                self._line.release(count)

    async def submit(self, item: Item, place: Place) -> Outcome[Result]:
        """Put an item into the line and wait for its result; cancelling takes it out again.

        Raises:
            DeadlineExceeded: the deadline passed before a batch took the item.
            BatchFailed: the call over its batch raised.
            Closed: the batcher is closing.
        """
        asked: _Asked[Item, Result] = _Asked(item, self._loop.create_future())
        now = clock()
        entry = Entry(asked, now, place.deadline)
        with self._changed:
            self._check_open()
            self._line.join(entry, place.lead_s(now))
            self._changed.notify()
        try:
            return await asked.future
        finally:
            if asked.future.cancelled():
                with self._changed:
                    self._line.leave(entry)

    def close(self, timeout_s: float | None = None) -> None:
        """Take nothing more, run what waits, and end the threads. Blocks; call it off the event loop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        until = None if timeout_s is None else clock() + timeout_s
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - clock()))

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("The server is shutting down. Send the request again; another one may take it.")

    def _work(self, run: Run[Item, Result]) -> None:
        batch: Batch[_Asked[Item, Result]] | None = None
        try:
            while (batch := self._next()) is not None:
                self._deliver([(entry, _too_late()) for entry in batch.late])
                if batch.entries:
                    self._deliver(self._answers(run, batch))
        except BaseException:
            logger.exception("a thread of the batcher died")
            self._abandon(batch)

    def _next(self) -> Batch[_Asked[Item, Result]] | None:
        """Sleep until a batch is due; None when none will follow."""
        with self._changed:
            while True:
                due_in = self._line.due_in(clock())
                if due_in is not None and (self._closed or due_in <= 0):
                    return self._line.take(clock())
                if self._closed:
                    return None
                self._changed.wait(due_in)

    def _answers(self, run: Run[Item, Result], batch: Batch[_Asked[Item, Result]]) -> _Answers[Item, Result]:
        size = len(batch.entries)
        try:
            results = run([entry.item.item for entry in batch.entries])
            if len(results) != size:
                raise RuntimeError(f"{size} items gave {len(results)} results")
        except BaseException as error:  # even SystemExit fails its batch only, not the thread
            with self._changed:
                self._line.finish(batch, clock(), learn=False)
            return [(entry, _failed(error)) for entry in batch.entries]
        now = clock()
        with self._changed:
            self._line.finish(batch, now)
        seconds = now - batch.began
        if self._on_batch:
            self._on_batch(size, seconds)
        return [
            (entry, Outcome(result, batch.began - entry.since, seconds, size))
            for entry, result in zip(batch.entries, results, strict=True)
        ]

    def _abandon(self, batch: Batch[_Asked[Item, Result]] | None) -> None:
        """A thread has died: nobody may wait for ever, neither for its batch nor in the line."""
        with self._changed:
            self._closed = True
            left = [*(batch.entries if batch else ()), *self._line.clear()]
            self._changed.notify_all()
        self._deliver([(entry, Closed("The server stopped before it could answer.")) for entry in left])

    def _deliver(self, answers: _Answers[Item, Result]) -> None:
        """Hand over a whole batch with one wake-up of the event loop."""
        if not answers:
            return
        with suppress(RuntimeError):  # a loop that has closed has nobody left who waits
            self._loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: _Answers[Item, Result]) -> None:
    for entry, answer in answers:
        future = entry.item.future
        if future.done():
            continue
        if isinstance(answer, Outcome):
            future.set_result(answer)
        else:
            future.set_exception(answer)


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed while the request waited.")


def _failed(error: BaseException) -> BatchFailed:
    failure = BatchFailed("The batch failed.")
    failure.__cause__ = error
    return failure
