"""What is asked of `app.batching.batcher`, and how it is answered: places, results that are awaited, errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.batching.scheduler import Entry
from app.errors import BatchFailed, Closed, DeadlineExceeded

Item = TypeVar("Item")
Result = TypeVar("Result")
clock = time.monotonic


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """One item's result, and what its batch cost."""

    result: Result
    make_s: float
    queue_s: float
    run_s: float
    batch_size: int


class Place:
    """Places that are held for items, from a reservation until their results are there."""

    def __init__(self, deadline: float | None) -> None:
        """Hold them from now on."""
        self.deadline, self.since = deadline, clock()
        self.promised: float | None = None
        self._is_first = True

    def lead_s(self, now: float) -> float | None:
        """How long the first of its items took to make; the others waited for each other."""
        is_first, self._is_first = self._is_first, False
        return now - self.since if is_first else None


@dataclass(eq=False)
class Asked(Generic[Item, Result]):
    """A result that somebody awaits, of an item that may still be in the making."""

    future: asyncio.Future[Outcome[Result]]
    place: Place
    since: float
    item: Item | None = None
    entry: Entry[Asked[Item, Result]] | None = None
    """Its place in the line, once the item is made."""


Answer = tuple[Asked[Item, Result], "Outcome[Result] | BaseException"]
"""A caller, and what it is told."""


def resolve(answers: Iterable[Answer[Item, Result]]) -> None:
    """Tell the callers; on their event loop."""
    for asked, answer in answers:
        asked.item = asked.entry = None  # it and its entry know each other, and would keep the item
        if asked.future.done():
            continue
        if isinstance(answer, Outcome):
            asked.future.set_result(answer)
        else:
            asked.future.set_exception(answer)


def shutting_down() -> Closed:
    """Said to whoever comes, or is not done yet, when the batcher closes."""
    return Closed("The server is shutting down. Send the request again; another one may take it.")


def too_late() -> DeadlineExceeded:
    """Said to those whom no batch took in time."""
    return DeadlineExceeded("The deadline passed while the request waited.")


def failed(error: BaseException) -> BatchFailed:
    """Said to all whose batch raised `error`."""
    failure = BatchFailed("The batch failed.")
    failure.__cause__ = error
    return failure
