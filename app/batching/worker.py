"""Threads that run batches, and the watchdog that detects stuck or persistently failing ones."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, cast

from app.batching.queue import BatchQueue
from app.batching.request import (
    BatchResult,
    Item,
    Outcome,
    PendingItem,
    Result,
    ScheduledBatch,
    batch_error,
    clock,
    deadline_error,
)
from app.threads import lower_thread_priority

logger = logging.getLogger(__name__)

Run = Callable[[Sequence[Item]], Sequence[Result]]

# A worker is unhealthy after this many failed batches in a row, over at least this time: a temporary lack of memory
# fails batches too, but passes. Both numbers are a judgement: the lower, the sooner a lost device restarts the server,
# and the more easily a passing fault does.
MAX_FAILURES_IN_A_ROW = 16
MAX_FAILING_S = 10.0
# A worker is unhealthy if one batch takes longer. A judgement: far above any batch that a client would wait for.
MAX_BATCH_S = 120.0


class Watchdog:
    """Detects stuck or persistently failing batch workers: a device can fail while its thread stays alive."""

    def __init__(self) -> None:
        self._started_at: dict[int, float] = {}  # by thread
        self._failures: dict[int, tuple[int, float]] = {}  # by thread: failures in a row, start of the first one

    @property
    def is_healthy(self) -> bool:
        """Return False if a worker has been on one batch for too long, or all its recent batches failed."""
        now = clock()
        is_stuck = any(now - started_at > MAX_BATCH_S for started_at in [*self._started_at.values()])
        is_failing = any(
            count >= MAX_FAILURES_IN_A_ROW and now - first_at > MAX_FAILING_S
            for count, first_at in [*self._failures.values()]
        )
        return not is_stuck and not is_failing

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch the batch that this thread runs in the block; it has failed if the block raises."""
        thread, now = threading.get_ident(), clock()
        self._started_at[thread] = now
        try:
            yield
        except BaseException:
            count, first_at = self._failures.get(thread, (0, now))
            self._failures[thread] = (count + 1, first_at)
            raise
        else:
            self._failures.pop(thread, None)
        finally:
            del self._started_at[thread]


class Worker(Generic[Item, Result]):
    """One thread that runs batches until the queue is closed and empty."""

    def __init__(
        self,
        queue: BatchQueue[Item, Result],
        run: Run[Item, Result],
        concurrent_run: Run[Item, Result],
        *,
        watchdog: Watchdog,
        on_batch: Callable[[int, float], None] | None,
        name: str,
    ) -> None:
        """Start the thread; `Batcher` describes the arguments."""
        self._queue, self._run, self._concurrent_run = queue, run, concurrent_run
        self._watchdog, self._on_batch = watchdog, on_batch
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Return True while the thread runs."""
        return self._thread.is_alive()

    def join(self, timeout_s: float | None) -> None:
        """Block until the thread has ended, for at most `timeout_s`."""
        self._thread.join(timeout_s)

    def _work(self) -> None:
        batch: ScheduledBatch[PendingItem[Item, Result]] | None = None
        try:
            lower_thread_priority()
            while (batch := self._queue.next_batch()) is not None:
                self._queue.deliver([(pending, deadline_error()) for pending in batch.expired])
                if batch.items:
                    self._queue.deliver(self._run_batch(batch))
        except BaseException:
            logger.exception("A batch worker died.")
            self._queue.abandon(batch)

    def _run_batch(self, batch: ScheduledBatch[PendingItem[Item, Result]]) -> list[Outcome[Item, Result]]:
        size = len(batch.items)
        run = self._concurrent_run if batch.concurrent else self._run
        try:
            with self._watchdog.watch():
                results = run([cast(Item, pending.item) for pending in batch.items])
                if len(results) != size:
                    raise RuntimeError(f"A batch of {size} items returned {len(results)} results.")
        except BaseException as error:  # even SystemExit fails only its batch, not the thread
            self._queue.complete(batch, clock(), learn=False)
            return [(pending, batch_error(error)) for pending in batch.items]
        now = clock()
        self._queue.complete(batch, now, learn=True)
        run_s = now - batch.started_at
        if self._on_batch:
            self._on_batch(size, run_s)
        return [
            (
                pending,
                BatchResult(
                    result,
                    prepare_s=pending.enqueued_at - pending.reserved_at,
                    queue_s=batch.started_at - pending.enqueued_at,
                    run_s=run_s,
                    batch_size=size,
                ),
            )
            for pending, result in zip(batch.items, results, strict=True)
        ]
