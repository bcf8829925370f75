"""The scheduler behind a lock: shared by the event loop, the threads that prepare items, and the batch workers."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Generic

from app.batching.request import (
    Item,
    Outcome,
    PendingItem,
    Reservation,
    Result,
    ScheduledBatch,
    clock,
    deliver_all,
)
from app.batching.scheduler import BatchScheduler
from app.batching.status import BatchingStatus
from app.errors import BatcherClosed


class BatchQueue(Generic[Item, Result]):
    """Items between their reservation and their batch. Every method may be called from any thread."""

    def __init__(self, scheduler: BatchScheduler[PendingItem[Item, Result]], loop: asyncio.AbstractEventLoop) -> None:
        """Create an empty queue whose results are delivered on `loop`."""
        self._scheduler, self._loop = scheduler, loop
        self._unprepared: set[PendingItem[Item, Result]] = set()
        self._condition = threading.Condition()
        self._next_wakeup = math.inf  # the earliest time at which a sleeping worker wakes up by itself
        self._closed = False

    def status(self) -> BatchingStatus:
        """Return what is held and what was learned."""
        with self._condition:
            return self._scheduler.status()

    def check_room(self, count: int, deadline: float | None) -> None:
        """Raise what `reserve` would raise, without reserving anything."""
        with self._condition:
            self._raise_if_closed()
            self._scheduler.check_room(count, clock(), deadline)

    def reserve(self, count: int, deadline: float | None) -> Reservation[Item, Result]:
        """Hold capacity for `count` items and create them; called on the event loop, and followed by `release`."""
        now = clock()
        with self._condition:
            self._raise_if_closed()
            expected_at = self._scheduler.reserve(count, now, deadline)
            # Further items wait for decode workers behind the first, so they say nothing about a single item.
            pending = tuple(
                PendingItem(self, self._loop.create_future(), now, deadline, is_typical=not number)
                for number in range(count)
            )
            self._unprepared.update(pending)
        return Reservation(pending, expected_at if count == 1 else None)

    def release(self, reservation: Reservation[Item, Result]) -> None:
        """Give the capacity of a reservation back, and learn from how far off its estimate was."""
        with self._condition:
            if reservation.expected_at is not None:
                (only,) = reservation.pending
                if only.is_typical and only.resolved_at is not None:
                    self._scheduler.observe_wait(reservation.expected_at, only.resolved_at)
            self._scheduler.release(len(reservation.pending))

    def enqueue(self, pending: PendingItem[Item, Result], item: Item) -> None:
        """Queue a prepared item, unless it was cancelled."""
        with self._condition:
            if pending not in self._unprepared:
                return
            self._unprepared.remove(pending)
            pending.item, pending.enqueued_at = item, clock()
            lead_s = pending.enqueued_at - pending.reserved_at if pending.is_typical else None
            self._scheduler.enqueue(pending, lead_s)
            self._wake(pending.enqueued_at)

    def fail(self, pending: PendingItem[Item, Result], error: BaseException) -> None:
        """Resolve an item that could not be prepared, unless it was cancelled."""
        with self._condition:
            if pending not in self._unprepared:
                return
            self._unprepared.remove(pending)
            self._wake(clock())
        self.deliver([(pending, error)])

    def withdraw(self, pending: PendingItem[Item, Result]) -> None:
        """Remove a cancelled item, unless a batch already runs it."""
        with self._condition:
            if pending in self._unprepared:
                self._unprepared.remove(pending)
                self._wake(clock())
            elif self._scheduler.remove(pending):
                pending.item = None

    def next_batch(self) -> ScheduledBatch[PendingItem[Item, Result]] | None:
        """Block a worker until a batch is due; return None when the queue is closed and empty."""
        with self._condition:
            while True:
                self._next_wakeup = math.inf
                now = clock()
                due_in_s = self._scheduler.next_due_s(now, len(self._unprepared))
                if due_in_s is not None and (self._closed or due_in_s <= 0):
                    batch = self._scheduler.next_batch(now, len(self._unprepared))
                    self._wake(now)  # another worker, for the items that are left
                    return batch
                if self._closed:
                    return None
                if due_in_s is not None:
                    self._next_wakeup = now + due_in_s
                self._condition.wait(due_in_s)

    def complete(self, batch: ScheduledBatch[PendingItem[Item, Result]], now: float, *, learn: bool) -> None:
        """Note that a batch has ended; its duration improves the estimates if `learn`."""
        with self._condition:
            self._scheduler.complete(batch, now, learn=learn)

    def close(self) -> None:
        """Reject new items and fail unprepared ones; the workers still run what is queued."""
        with self._condition:
            self._closed = True
            unprepared = self._take_unprepared()
            self._condition.notify_all()
        self.deliver([(pending, BatcherClosed.during_shutdown()) for pending in unprepared])

    def abandon(self, batch: ScheduledBatch[PendingItem[Item, Result]] | None) -> None:
        """Close the queue after the death of a worker, and fail its batch and every item that waits."""
        with self._condition:
            self._closed = True
            lost = [*(batch.items if batch else ()), *self._scheduler.clear(), *self._take_unprepared()]
            self._condition.notify_all()
        self.deliver(
            [(pending, BatcherClosed("An inference worker died. Send the request again.")) for pending in lost]
        )

    def deliver(self, outcomes: Sequence[Outcome[Item, Result]]) -> None:
        """Resolve all items with one wake-up of the event loop."""
        if outcomes:
            with suppress(RuntimeError):  # the event loop is closed, so nothing awaits the results
                self._loop.call_soon_threadsafe(deliver_all, outcomes)

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise BatcherClosed.during_shutdown()

    def _take_unprepared(self) -> list[PendingItem[Item, Result]]:
        unprepared = list(self._unprepared)
        self._unprepared.clear()
        return unprepared

    def _wake(self, now: float) -> None:
        """Wake a worker if a batch is due before any of them would wake up by itself."""
        due_in_s = self._scheduler.next_due_s(now, len(self._unprepared))
        if due_in_s is not None and now + due_in_s < self._next_wakeup:
            self._next_wakeup = now + due_in_s
            self._condition.notify()
