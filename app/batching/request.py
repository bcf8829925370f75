"""Data that passes through the batcher: pending items, reservations, scheduled batches and their results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from app.errors import BatchFailed, DeadlineExceeded

Item = TypeVar("Item")
Result = TypeVar("Result")

clock = time.monotonic


@dataclass(eq=False)
class QueuedItem:
    """What the scheduler knows of an item; times in seconds of the caller's clock."""

    deadline: float | None = None
    enqueued_at: float = 0.0


Queued = TypeVar("Queued", bound=QueuedItem)


@dataclass(eq=False)
class ScheduledBatch(Generic[Queued]):
    """Items that run together, oldest first, and items that were dropped because their deadline had passed."""

    items: Sequence[Queued]
    expired: Sequence[Queued]
    started_at: float
    concurrent: bool = False
    """True if the batch runs on a share of the cores, beside other batches; False if it has all cores."""


@dataclass(frozen=True)
class BatchResult(Generic[Result]):
    """The result of one item, and the time it took in seconds."""

    result: Result
    prepare_s: float
    queue_s: float
    run_s: float
    batch_size: int


class ItemQueue(Protocol[Item, Result]):
    """The queue that a pending item belongs to; every method may be called from any thread."""

    def enqueue(self, pending: PendingItem[Item, Result], item: Item) -> None:
        """Queue a prepared item."""

    def fail(self, pending: PendingItem[Item, Result], error: BaseException) -> None:
        """Resolve an item that could not be prepared."""

    def withdraw(self, pending: PendingItem[Item, Result]) -> None:
        """Remove a cancelled item."""


class PendingItem(QueuedItem, Generic[Item, Result]):
    """One item from its reservation to its result.

    `enqueue` and `fail` may be called from any thread, the other methods on the event loop. Whatever is called after
    the item was cancelled, or has its result, changes nothing.
    """

    def __init__(
        self,
        queue: ItemQueue[Item, Result],
        future: asyncio.Future[BatchResult[Result]],
        reserved_at: float,
        deadline: float | None,
        is_typical: bool,
    ) -> None:
        """Create an item that is not prepared yet."""
        super().__init__(deadline)
        self.reserved_at = reserved_at
        self.is_typical = is_typical
        """True if the time that it takes tells how long another one will take."""
        self.item: Item | None = None
        self.resolved_at: float | None = None
        """When the result arrived on the event loop, or when waiting ended after the deadline."""
        self._queue = queue
        self._future: asyncio.Future[BatchResult[Result]] | None = future

    @property
    def is_pending(self) -> bool:
        """True until the result was taken or the item was cancelled."""
        return self._future is not None

    def enqueue(self, item: Item) -> None:
        """Queue the prepared item for a batch."""
        self._queue.enqueue(self, item)

    def fail(self, error: BaseException) -> None:
        """Resolve the item with an error, because it could not be prepared."""
        self._queue.fail(self, error)

    async def result(self) -> BatchResult[Result]:
        """Wait for the result, at most once. Cancelling the wait cancels the item.

        Raises:
            DeadlineExceeded: the deadline passed before a batch included the item.
            BatchFailed: the run of its batch failed.
            BatcherClosed: the batcher is closing.
            Exception: the error that was passed to `fail`.
        """
        assert self._future is not None, "the item was cancelled, or its result was taken"
        try:
            result = await self._future
            self.resolved_at = clock()
            return result
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Withdraw the item if it has no result yet.

        This also drops the future: its error refers by its traceback to the frames that hold this item, and such a
        circle would keep the image in memory until the next garbage collection.
        """
        future, self._future = self._future, None
        if future is None:
            return
        if future.done() and not future.cancelled():
            future.exception()  # marks an error as seen, so that asyncio does not log it
            return
        future.cancel()
        now = clock()
        if self.deadline is not None and now >= self.deadline:
            self.resolved_at = now
        self._queue.withdraw(self)

    def deliver(self, outcome: BatchResult[Result] | BaseException) -> None:
        """Resolve the future, on the event loop, unless the item was cancelled."""
        self.item = None
        if self._future is None or self._future.done():
            return
        if isinstance(outcome, BatchResult):
            self._future.set_result(outcome)
        else:
            self._future.set_exception(outcome)


@dataclass(frozen=True, eq=False)
class Reservation(Generic[Item, Result]):
    """Capacity that is held for some items until their results have arrived."""

    pending: tuple[PendingItem[Item, Result], ...]
    expected_at: float | None
    """When the result of a single item is expected; None for several, since the estimate is that of the last one."""


Outcome = tuple[PendingItem[Item, Result], "BatchResult[Result] | BaseException"]


def deliver_all(outcomes: Iterable[Outcome[Item, Result]]) -> None:
    """Resolve several items, on the event loop."""
    for pending, outcome in outcomes:
        pending.deliver(outcome)


def deadline_error() -> DeadlineExceeded:
    """Create the error of an item whose deadline passed in the queue."""
    return DeadlineExceeded("The deadline passed while the request was queued. Allow more time.")


def batch_error(cause: BaseException) -> BatchFailed:
    """Create the error of an item whose batch raised `cause`."""
    error = BatchFailed("The batch failed.")
    error.__cause__ = cause
    return error
