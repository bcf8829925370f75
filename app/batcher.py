"""Items of many callers -> one call -> each caller's own result. Knows no images.

    reserve() ──▶ place ──submit(item)──▶ queue ──take up to max_batch──▶ run(items) ──▶ each one's future
       │                     │                       │                       │
       Overloaded, Closed    Closed                  DeadlineExceeded        BatchFailed

One thread runs the batches. While it is busy the next batch fills (late binding); when it is free it takes
what there is, at once unless `max_delay_s` is set. No future is ever left pending, whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.errors import BatchFailed, Closed, DeadlineExceeded, Overloaded, ServiceError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """One item's result, and what its batch cost."""

    result: Result
    queue_s: float
    run_s: float
    batch_size: int


@dataclass(eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    deadline: float | None
    future: asyncio.Future[Outcome[Result]]
    since: float = field(default_factory=time.monotonic)

    @property
    def expired(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline


_Answer = tuple[_Waiting[Item, Result], Outcome[Result] | ServiceError]


class Batcher(Generic[Item, Result]):
    """Runs the items of many coroutines of one event loop in batches, in a thread of its own."""

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        name: str,
        max_batch: int,
        places: int,
        max_delay_s: float = 0.0,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        """Start the thread; to be called on the event loop that will submit.

        Args:
            run: items -> as many results, in their order; called from the thread, one call at a time.
            name: of the thread.
            max_batch: items of one call at most.
            places: items that may be reserved, waiting or running at a time.
            max_delay_s: how long the oldest item waits for its batch to fill.
            on_batch: told the size and the seconds of each batch, from the thread.
        """
        self._run, self._on_batch = run, on_batch
        self._max_batch, self._free, self._max_delay_s = max_batch, places, max_delay_s
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._running: list[_Waiting[Item, Result]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Items that wait for a batch."""
        return len(self._queue)

    @contextmanager
    def reserve(self, places: int = 1) -> Iterator[None]:
        """Hold places for items that are still being made, until their results are there.

        Raises:
            Overloaded: fewer places are free.
            Closed: the batcher is closing.
        """
        with self._changed:
            self._check_open()
            if self._free < places:
                raise Overloaded("The server has as much work as it can hold. Try again in a moment.")
            self._free -= places
        try:
            yield
        finally:
            with self._changed:
                self._free += places

    async def submit(self, item: Item, deadline: float | None = None) -> Outcome[Result]:
        """Put an item into the queue and wait for its result; cancelling takes it out again.

        Args:
            item: for which a place was reserved.
            deadline: `time.monotonic()` after which nobody wants the result.

        Raises:
            DeadlineExceeded: the deadline passed before a batch took the item.
            BatchFailed: the call over its batch raised.
            Closed: the batcher is closing.
        """
        waiting: _Waiting[Item, Result] = _Waiting(item, deadline, self._loop.create_future())
        with self._changed:
            self._check_open()
            self._queue.append(waiting)
            self._changed.notify()
        try:
            return await waiting.future
        except asyncio.CancelledError:
            self._withdraw(waiting)
            raise

    def close(self, timeout_s: float | None = None) -> None:
        """Take nothing more, run what waits, and end the thread. Blocks; call it off the event loop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("The server is shutting down. Send the request again; another one may take it.")

    def _withdraw(self, waiting: _Waiting[Item, Result]) -> None:
        with self._changed:
            if waiting in self._queue:
                self._queue.remove(waiting)

    def _work(self) -> None:
        try:
            while self._wait():
                self._running, late = self._take()
                self._deliver(late)
                self._deliver(self._answer(self._running))
                self._running = []
        except BaseException:
            logger.exception("the batcher's thread died")
        finally:
            self._abandon()

    def _wait(self) -> bool:
        """Sleep until a batch is due, or all that waited has gone; False when none will follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._queue and self._max_delay_s:
                remaining = self._queue[0].since + self._max_delay_s - time.monotonic()
                self._changed.wait_for(self._is_full, timeout=max(0, remaining))
            return bool(self._queue) or not self._closed

    def _is_full(self) -> bool:
        return len(self._queue) >= self._max_batch or self._closed

    def _take(self) -> tuple[list[_Waiting[Item, Result]], list[_Answer[Item, Result]]]:
        """The next batch, and answers to those that it leaves behind."""
        batch: list[_Waiting[Item, Result]] = []
        late: list[_Answer[Item, Result]] = []
        with self._changed:
            while self._queue and len(batch) < self._max_batch:
                waiting = self._queue.popleft()
                if waiting.future.done():
                    continue
                if waiting.expired:
                    late.append((waiting, DeadlineExceeded("The deadline passed while the request waited.")))
                else:
                    batch.append(waiting)
        return batch, late

    def _answer(self, batch: list[_Waiting[Item, Result]]) -> list[_Answer[Item, Result]]:
        if not batch:
            return []
        began = time.monotonic()
        try:
            results = self._run([waiting.item for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items gave {len(results)} results")
        except BaseException as error:  # even SystemExit fails its batch only, not the thread
            return [(waiting, _failed(error)) for waiting in batch]
        seconds = time.monotonic() - began
        if self._on_batch:
            self._on_batch(len(batch), seconds)
        return [
            (waiting, Outcome(result, began - waiting.since, seconds, len(batch)))
            for waiting, result in zip(batch, results, strict=True)
        ]

    def _abandon(self) -> None:
        with self._changed:
            self._closed = True
            left = [*self._running, *self._queue]
            self._queue.clear()
        self._deliver([(waiting, Closed("The server stopped before it could answer.")) for waiting in left])

    def _deliver(self, answers: list[_Answer[Item, Result]]) -> None:
        """Hand over a whole batch with one wake-up of the event loop."""
        if not answers:
            return
        with suppress(RuntimeError):  # a loop that has closed has nobody left who waits
            self._loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[_Answer[Item, Result]]) -> None:
    for waiting, answer in answers:
        if waiting.future.done():
            continue
        if isinstance(answer, Outcome):
            waiting.future.set_result(answer)
        else:
            waiting.future.set_exception(answer)


def _failed(error: BaseException) -> BatchFailed:
    failure = BatchFailed("The batch failed.")
    failure.__cause__ = error
    return failure
