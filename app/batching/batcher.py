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
    Answer,
    Asked,
    Item,
    Outcome,
    Place,
    Result,
    clock,
    failed,
    resolve,
    shutting_down,
    too_late,
)
from app.batching.scheduler import Batch, Entry, Line
from app.batching.watchdog import Vitals
from app.errors import Closed
from app.threads import step_back

logger = logging.getLogger(__name__)

Run = Callable[[Sequence[Item]], Sequence[Result]]
Answers = list[Answer[Item, Result]]


class Batcher(Generic[Item, Result]):
    """Runs the items of many coroutines of one event loop in batches, in threads of its own."""

    def __init__(
        self,
        *runs: Run[Item, Result],
        beside: Run[Item, Result] | None = None,
        name: str,
        max_batch: int,
        places: int,
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
        self._on_batch, self._beside = on_batch, beside
        self._loop = asyncio.get_running_loop()
        self._line: Line[Asked[Item, Result]] = Line(
            places=places,
            max_batch=max_batch,
            max_run_s=max_run_s,
            max_delay_s=max_delay_s,
            lanes=len(runs),
            shares_cores=shares_cores,
            sizes=sizes,
        )
        self._being_made: set[Asked[Item, Result]] = set()
        self._changed = threading.Condition()
        self._alarm = math.inf  # when the first of the threads that sleep will look again
        self._closed, self._vitals = False, Vitals()
        self._threads = [threading.Thread(target=self._work, args=[run], name=name, daemon=True) for run in runs]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Items that wait for a batch."""
        return self._line.depth

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs, and what they run comes to a good end."""
        return self._vitals.are_good and all(thread.is_alive() for thread in self._threads)

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
            if self._closed:
                raise shutting_down()
            promised = self._line.reserve(count, place.since, deadline)
        place.promised = promised if count == 1 else None  # of several, it is the last one's
        try:
            yield place
        finally:
            with self._changed:
                self._line.release(count)

    def ask(self, place: Place) -> Asked[Item, Result]:
        """Ask for the result of an item that is going to be made; `outcome` must be awaited. Raises Closed."""
        asked: Asked[Item, Result] = Asked(self._loop.create_future(), place, clock())
        with self._changed:
            if self._closed:
                raise shutting_down()
            self._being_made.add(asked)
        return asked

    def put(self, asked: Asked[Item, Result], item: Item) -> None:
        """The item is made and joins the line, unless nobody wants it any more. From any thread."""
        with self._changed:
            if not self._is_made(asked):
                return
            now = clock()
            asked.item, asked.entry = item, Entry(asked, now, asked.place.deadline)
            self._line.join(asked.entry, asked.place.lead_s(now))
            self._wake(now)

    def fail(self, asked: Asked[Item, Result], error: BaseException) -> None:
        """The item could not be made. From any thread."""
        with self._changed:
            if not self._is_made(asked):
                return
            self._wake(clock())
        self._deliver([(asked, error)])

    async def outcome(self, asked: Asked[Item, Result]) -> Outcome[Result]:
        """Wait for what was asked; cancelling gives it up.

        Raises:
            DeadlineExceeded: the deadline passed before a batch took the item.
            BatchFailed: the call over its batch raised.
            Closed: the batcher is closing.
            Exception: whatever `fail` was told.
        """
        try:
            found = await asked.future
            self._learn(asked.place)
            return found
        finally:
            self.give_up(asked)

    def give_up(self, asked: Asked[Item, Result]) -> None:
        """Nobody wants it any more; nothing changes where its outcome is known."""
        if not asked.future.cancel() and not asked.future.cancelled():
            asked.future.exception()  # has been looked at: no complaint that nobody did
            return
        if asked.place.deadline is not None and clock() >= asked.place.deadline:
            self._learn(asked.place)
        with self._changed:
            if asked.entry:
                self._line.leave(asked.entry)
                asked.entry = None
            elif self._is_made(asked):
                self._wake(clock())

    def _learn(self, place: Place) -> None:
        """What was promised is there on the event loop, or late already."""
        if place.promised is not None:
            with self._changed:
                self._line.answered(place.promised, clock())

    def close(self, timeout_s: float | None = None) -> None:
        """Take nothing more, run what waits, and end the threads. Blocks; call it off the event loop."""
        with self._changed:
            self._closed = True
            unmade = [asked for asked in [*self._being_made] if self._is_made(asked)]
            self._changed.notify_all()
        self._deliver([(asked, shutting_down()) for asked in unmade])
        until = None if timeout_s is None else clock() + timeout_s
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - clock()))

    def _is_made(self, asked: Asked[Item, Result]) -> bool:
        """Take it from those in the making; False if it was none of them any more."""
        if asked not in self._being_made:
            return False
        self._being_made.remove(asked)
        return True

    def _wake(self, now: float) -> None:
        """Wake a thread, if a batch is due before any of them would look again."""
        due_in = self._line.due_in(now, len(self._being_made))
        if due_in is not None and now + due_in < self._alarm:
            self._alarm = now + due_in
            self._changed.notify()

    def _work(self, run: Run[Item, Result]) -> None:
        batch: Batch[Asked[Item, Result]] | None = None
        try:
            step_back()
            while (batch := self._next()) is not None:
                self._deliver([(entry.item, too_late()) for entry in batch.late])
                if batch.entries:
                    self._deliver(self._answers(run, batch))
        except BaseException:
            logger.exception("a thread of the batcher died")
            self._abandon(batch)

    def _next(self) -> Batch[Asked[Item, Result]] | None:
        """Sleep until a batch is due; None when none will follow."""
        with self._changed:
            while True:
                self._alarm = math.inf
                now = clock()
                due_in = self._line.due_in(now, len(self._being_made))
                if due_in is not None and (self._closed or due_in <= 0):
                    batch = self._line.take(now, len(self._being_made))
                    self._wake(now)  # another one, for what is left
                    return batch
                if self._closed:
                    return None
                if due_in is not None:
                    self._alarm = now + due_in
                self._changed.wait(due_in)

    def _answers(self, run: Run[Item, Result], batch: Batch[Asked[Item, Result]]) -> Answers[Item, Result]:
        size = len(batch.entries)
        try:
            with self._vitals.watched():
                items = [cast(Item, entry.item.item) for entry in batch.entries]
                results = (self._beside or run)(items) if batch.beside else run(items)
                if len(results) != size:
                    raise RuntimeError(f"{size} items gave {len(results)} results")
        except BaseException as error:  # even SystemExit fails its batch only, not the thread
            with self._changed:
                self._line.finish(batch, clock(), learn=False)
            return [(entry.item, failed(error)) for entry in batch.entries]
        now = clock()
        with self._changed:
            self._line.finish(batch, now)
        seconds = now - batch.began
        if self._on_batch:
            self._on_batch(size, seconds)
        return [
            (entry.item, Outcome(result, entry.since - entry.item.since, batch.began - entry.since, seconds, size))
            for entry, result in zip(batch.entries, results, strict=True)
        ]

    def _abandon(self, batch: Batch[Asked[Item, Result]] | None) -> None:
        """A thread has died: nobody may wait for ever, neither for its batch nor in the line."""
        with self._changed:
            self._closed = True
            left = [entry.item for entry in (*(batch.entries if batch else ()), *self._line.clear())]
            left += [asked for asked in [*self._being_made] if self._is_made(asked)]
            self._changed.notify_all()
        self._deliver([(asked, Closed("The server stopped before it could answer.")) for asked in left])

    def _deliver(self, answers: Answers[Item, Result]) -> None:
        """Hand over a whole batch with one wake-up of the event loop."""
        if not answers:
            return
        with suppress(RuntimeError):  # a loop that has closed has nobody left who waits
            self._loop.call_soon_threadsafe(resolve, answers)
