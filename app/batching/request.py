"""What is asked of `app.batching.batcher`, and how it is answered: places, results that are awaited, errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.batching.scheduler import QueuedItem
from app.errors import BatcherClosed, BatchFailed, DeadlineExceeded

Item = TypeVar("Item")
Result = TypeVar("Result")
clock = time.monotonic


@dataclass(frozen=True)
class BatchResult(Generic[Result]):
    """One item's result, and what its batch cost."""

    result: Result
    prepare_s: float
    queue_s: float
    run_s: float
    batch_size: int


class Reservation:
    """Places that are held for items, from a reservation until their results are there."""

    def __init__(self, deadline: float | None) -> None:
        """Hold them from now on."""
        self.deadline, self.created = deadline, clock()
        self.expected_at: float | None = None
        self._is_first = True

    def take_lead_s(self, now: float) -> float | None:
        """How long the first of its items took to make; the others waited for each other."""
        is_first, self._is_first = self._is_first, False
        return now - self.created if is_first else None


@dataclass(eq=False)
class PendingItem(Generic[Item, Result]):
    """A result that somebody awaits, of an item that may still be in the making."""

    future: asyncio.Future[BatchResult[Result]]
    reservation: Reservation
    submitted: float
    item: Item | None = None
    entry: QueuedItem[PendingItem[Item, Result]] | None = None
    """Its place in the line, once the item is made."""


Delivery = tuple[PendingItem[Item, Result], "BatchResult[Result] | BaseException"]
"""A caller, and what it is told."""


def deliver(answers: Iterable[Delivery[Item, Result]]) -> None:
    """Tell the callers; on their event loop."""
    for asked, answer in answers:
        asked.item = asked.entry = None  # it and its entry know each other, and would keep the item
        if asked.future.done():
            continue
        if isinstance(answer, BatchResult):
            asked.future.set_result(answer)
        else:
            asked.future.set_exception(answer)


def shutdown_error() -> BatcherClosed:
    """Said to whoever comes, or is not done yet, when the batcher closes."""
    return BatcherClosed("The server is shutting down. Send the request again; another one may take it.")


def deadline_error() -> DeadlineExceeded:
    """Said to those whom no batch took in time."""
    return DeadlineExceeded("The deadline passed while the request waited.")


def batch_error(error: BaseException) -> BatchFailed:
    """Said to all whose batch raised `error`."""
    failure = BatchFailed("The batch failed.")
    failure.__cause__ = error
    return failure
