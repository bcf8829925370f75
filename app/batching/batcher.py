"""Items of many callers -> one call -> each caller's own result. Knows no images.

    reserve() ──▶ place ──ask()──▶ asked ──put(item)──▶ line ──take up to max_batch──▶ run(items) ──▶ its future
       │                             │                    │                              │
       Overloaded, Closed            Closed, fail(error)  DeadlineExceeded               BatchFailed
       DeadlineUnmeetable

A thread for each lane runs the batches. While all are busy the next batch fills (late binding); when one that is free
takes what there is, `app.batching.scheduler` knows. No future is ever left pending, whatever becomes of a thread.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, cast

from app.batching.request import (
    BatchResult,
    Delivery,
    Item,
    PendingItem,
    Reservation,
    Result,
    batch_error,
    clock,
    deadline_error,
    deliver,
    shutdown_error,
)
from app.batching.scheduler import BatchScheduler, QueuedItem, ScheduledBatch
from app.batching.watchdog import Watchdog
from app.errors import BatcherClosed
from app.threads import lower_thread_priority

logger = logging.getLogger(__name__)

Run = Callable[[Sequence[Item]], Sequence[Result]]
Deliveries = list[Delivery[Item, Result]]


class Batcher(Generic[Item, Result]):
    """Runs the items of many coroutines of one event loop in batches, in threads of its own."""

    def __init__(
        self,
        *runs: Run[Item, Result],
        concurrent: Run[Item, Result] | None = None,
        name: str,
        max_batch: int,
        capacity: int,
        max_run_s: float = math.inf,
        max_delay_s: float = 0.0,
        shares_cores: bool = False,
        sizes: Sequence[int] = (),
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        """Start the threads; to be called on the event loop that will ask.

        Args:
            runs: each makes a lane of its own: items -> as many results, in their order; one call at a time.
            beside: runs a batch that leaves cores to others, in any lane; by default as any other one.
            name: of the threads.
            max_batch: items of one call at most.
            places: items that may be reserved, waiting or running at a time.
            max_run_s: how long a batch may take, if it has more than one item.
            max_delay_s: how long the oldest item waits at most for its batch to fill; less where nobody comes.
            shares_cores: whether items are made on the cores that run the batches.
            sizes: of batches that run well; none means all.
            on_batch: told the size and the seconds of each batch, from a thread.
        """
        self._on_batch, self._concurrent = on_batch, concurrent
        self._loop = asyncio.get_running_loop()
        self._scheduler: BatchScheduler[PendingItem[Item, Result]] = BatchScheduler(
            capacity=capacity,
            max_batch=max_batch,
            max_run_s=max_run_s,
            max_delay_s=max_delay_s,
            workers=len(runs),
            shares_cores=shares_cores,
            preferred_batch_sizes=sizes,
        )
        self._unprepared: set[PendingItem[Item, Result]] = set()
        self._condition = threading.Condition()
        self._next_wakeup = math.inf  # when the first of the threads that sleep will look again
        self._closed, self._watchdog = False, Watchdog()
        self._threads = [threading.Thread(target=self._work, args=[run], name=name, daemon=True) for run in runs]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Items that wait for a batch."""
        return self._scheduler.depth

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs, and what they run comes to a good end."""
        return self._watchdog.is_healthy and all(thread.is_alive() for thread in self._threads)

    @contextmanager
    def reserve(self, count: int = 1, deadline: float | None = None) -> Iterator[Reservation]:
        """Hold places for items that are still being made, until their results are there.

        Args:
            count: of items.
            deadline: `time.monotonic()` after which nobody wants their results.

        Raises:
            Overloaded: fewer places are free.
            DeadlineUnmeetable: by all that is known, the results would come too late.
            Closed: the batcher is closing.
        """
        reservation = Reservation(deadline)
        with self._condition:
            if self._closed:
                raise shutdown_error()
            promised = self._scheduler.reserve(count, reservation.created, deadline)
        reservation.expected_at = promised if count == 1 else None  # of several, it is the last one's
        try:
            yield reservation
        finally:
            with self._condition:
                self._scheduler.release(count)

    def submit(self, reservation: Reservation) -> PendingItem[Item, Result]:
        """Ask for the result of an item that is going to be made; `outcome` must be awaited. Raises Closed."""
        pending: PendingItem[Item, Result] = PendingItem(self._loop.create_future(), reservation, clock())
        with self._condition:
            if self._closed:
                raise shutdown_error()
            self._unprepared.add(pending)
        return pending

    def enqueue(self, pending: PendingItem[Item, Result], item: Item) -> None:
        """The item is made and joins the line, unless nobody wants it any more. From any thread."""
        with self._condition:
            if not self._remove_unprepared(pending):
                return
            now = clock()
            pending.item, pending.entry = item, QueuedItem(pending, now, pending.reservation.deadline)
            self._scheduler.enqueue(pending.entry, pending.reservation.take_lead_s(now))
            self._wake(now)

    def fail(self, pending: PendingItem[Item, Result], error: BaseException) -> None:
        """The item could not be made. From any thread."""
        with self._condition:
            if not self._remove_unprepared(pending):
                return
            self._wake(clock())
        self._deliver([(pending, error)])

    async def result(self, pending: PendingItem[Item, Result]) -> BatchResult[Result]:
        """Wait for what was asked; cancelling gives it up.

        Raises:
            DeadlineExceeded: the deadline passed before a batch took the item.
            BatchFailed: the call over its batch raised.
            Closed: the batcher is closing.
            Exception: whatever `fail` was told.
        """
        try:
            found = await pending.future
            self._observe_wait(pending.reservation)
            return found
        finally:
            self.cancel(pending)

    def cancel(self, pending: PendingItem[Item, Result]) -> None:
        """Nobody wants it any more; nothing changes where its outcome is known."""
        if not pending.future.cancel() and not pending.future.cancelled():
            pending.future.exception()  # has been looked at: no complaint that nobody did
            return
        if pending.reservation.deadline is not None and clock() >= pending.reservation.deadline:
            self._observe_wait(pending.reservation)
        with self._condition:
            if pending.entry:
                self._scheduler.remove(pending.entry)
                pending.entry = None
            elif self._remove_unprepared(pending):
                self._wake(clock())

    def _observe_wait(self, place: Reservation) -> None:
        """What was promised is there on the event loop, or late already."""
        if place.expected_at is not None:
            with self._condition:
                self._scheduler.observe_wait(place.expected_at, clock())

    def close(self, timeout_s: float | None = None) -> None:
        """Take nothing more, run what waits, and end the threads. Blocks; call it off the event loop."""
        with self._condition:
            self._closed = True
            unmade = [asked for asked in [*self._unprepared] if self._remove_unprepared(asked)]
            self._condition.notify_all()
        self._deliver([(asked, shutdown_error()) for asked in unmade])
        until = None if timeout_s is None else clock() + timeout_s
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - clock()))

    def _remove_unprepared(self, pending: PendingItem[Item, Result]) -> bool:
        """Take it from those in the making; False if it was none of them any more."""
        if pending not in self._unprepared:
            return False
        self._unprepared.remove(pending)
        return True

    def _wake(self, now: float) -> None:
        """Wake a thread, if a batch is due before any of them would look again."""
        due_in = self._scheduler.next_due_s(now, len(self._unprepared))
        if due_in is not None and now + due_in < self._next_wakeup:
            self._next_wakeup = now + due_in
            self._condition.notify()

    def _work(self, run: Run[Item, Result]) -> None:
        batch: ScheduledBatch[PendingItem[Item, Result]] | None = None
        try:
            lower_thread_priority()
            while (batch := self._wait_for_batch()) is not None:
                self._deliver([(entry.item, deadline_error()) for entry in batch.expired])
                if batch.items:
                    self._deliver(self._run_batch(run, batch))
        except BaseException:
            logger.exception("a thread of the batcher died")
            self._abandon(batch)

    def _wait_for_batch(self) -> ScheduledBatch[PendingItem[Item, Result]] | None:
        """Sleep until a batch is due; None when none will follow."""
        with self._condition:
            while True:
                self._next_wakeup = math.inf
                now = clock()
                due_in = self._scheduler.next_due_s(now, len(self._unprepared))
                if due_in is not None and (self._closed or due_in <= 0):
                    batch = self._scheduler.next_batch(now, len(self._unprepared))
                    self._wake(now)  # another one, for what is left
                    return batch
                if self._closed:
                    return None
                if due_in is not None:
                    self._next_wakeup = now + due_in
                self._condition.wait(due_in)

    def _run_batch(
        self, run: Run[Item, Result], batch: ScheduledBatch[PendingItem[Item, Result]]
    ) -> Deliveries[Item, Result]:
        size = len(batch.items)
        try:
            with self._watchdog.watch():
                items = [cast(Item, entry.item.item) for entry in batch.items]
                results = (self._concurrent or run)(items) if batch.concurrent else run(items)
                if len(results) != size:
                    raise RuntimeError(f"{size} items gave {len(results)} results")
        except BaseException as error:  # even SystemExit fails its batch only, not the thread
            with self._condition:
                self._scheduler.complete(batch, clock(), learn=False)
            return [(entry.item, batch_error(error)) for entry in batch.items]
        now = clock()
        with self._condition:
            self._scheduler.complete(batch, now)
        seconds = now - batch.started
        if self._on_batch:
            self._on_batch(size, seconds)
        return [
            (
                entry.item,
                BatchResult(
                    result, entry.enqueued - entry.item.submitted, batch.started - entry.enqueued, seconds, size
                ),
            )
            for entry, result in zip(batch.items, results, strict=True)
        ]

    def _abandon(self, batch: ScheduledBatch[PendingItem[Item, Result]] | None) -> None:
        """A thread has died: nobody may wait for ever, neither for its batch nor in the line."""
        with self._condition:
            self._closed = True
            left = [entry.item for entry in (*(batch.items if batch else ()), *self._scheduler.clear())]
            left += [asked for asked in [*self._unprepared] if self._remove_unprepared(asked)]
            self._condition.notify_all()
        self._deliver([(asked, BatcherClosed("The server stopped before it could answer.")) for asked in left])

    def _deliver(self, answers: Deliveries[Item, Result]) -> None:
        """Hand over a whole batch with one wake-up of the event loop."""
        if not answers:
            return
        with suppress(RuntimeError):  # a loop that has closed has nobody left who waits
            self._loop.call_soon_threadsafe(deliver, answers)
