"""Run the items of many coroutines in batches. Knows nothing of images or models.

The life of one item::

    reserve()            capacity is held; the item is pending and not prepared yet   (BatchQueue, BatchScheduler)
       │                 raises Overloaded, DeadlineUnmeetable, BatcherClosed
       ▼
    pending.enqueue()    the prepared item waits in the queue for a batch             (any thread)
       │                 or pending.fail(error): it could not be prepared
       ▼
    next_batch()         a free worker takes the oldest items as one batch            (Worker thread)
       │                 items whose deadline has passed get DeadlineExceeded
       ▼
    run(items)           the worker runs the batch; an error becomes BatchFailed      (Worker thread)
       │
       ▼
    pending.result()     the event loop delivers the result                           (event loop)
       │
       ▼
    end of reserve()     unresolved items are cancelled, capacity is given back

`pending.cancel()` may be called at every step. While all workers are busy, the next batch fills up: which items form
it is decided when it begins. Every item is resolved or cancelled, even if a worker thread dies.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic

from app.batching.queue import BatchQueue
from app.batching.request import Item, PendingItem, Reservation, Result, clock
from app.batching.scheduler import BatchScheduler
from app.batching.status import BatchingStatus
from app.batching.worker import Run, Watchdog, Worker


class Batcher(Generic[Item, Result]):
    """Collects the items of one event loop in batches and runs them in worker threads."""

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
        preferred_batch_sizes: Sequence[int] = (),
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        """Start one worker thread for each run function; called on the event loop.

        Args:
            runs: run functions: items -> as many results, in the same order. Each is called by one thread.
            concurrent: run function, for any worker, of a batch that uses a share of the cores beside other batches;
                by default the worker's own.
            name: name of the threads.
            max_batch: maximum number of items in a batch.
            capacity: maximum number of items that are reserved, queued or running.
            max_run_s: maximum duration of a batch of more than one item, by estimate.
            max_delay_s: time that the oldest item waits for its batch to fill while a worker is free.
            shares_cores: True if the batches run on the cores that also prepare the items.
            preferred_batch_sizes: batch sizes that run efficiently, 1 among them; empty means all.
            on_batch: called in a worker thread with the size and the seconds of each batch.
        """
        scheduler: BatchScheduler[PendingItem[Item, Result]] = BatchScheduler(
            capacity=capacity,
            max_batch=max_batch,
            max_run_s=max_run_s,
            max_delay_s=max_delay_s,
            workers=len(runs),
            shares_cores=shares_cores,
            preferred_batch_sizes=preferred_batch_sizes,
        )
        self._queue = BatchQueue(scheduler, asyncio.get_running_loop())
        self._watchdog = Watchdog()
        self._workers = [
            Worker(self._queue, run, concurrent or run, watchdog=self._watchdog, on_batch=on_batch, name=name)
            for run in runs
        ]

    def status(self) -> BatchingStatus:
        """Return what the batcher holds, and what it has learned."""
        return self._queue.status()

    @property
    def is_alive(self) -> bool:
        """Return True while every worker thread runs, and none is stuck or fails persistently."""
        return self._watchdog.is_healthy and all(worker.is_alive for worker in self._workers)

    def check_room(self, count: int = 1, deadline: float | None = None) -> None:
        """Raise what `reserve` would raise now, without reserving anything."""
        self._queue.check_room(count, deadline)

    @contextmanager
    def reserve(self, count: int = 1, deadline: float | None = None) -> Iterator[Reservation[Item, Result]]:
        """Hold capacity for `count` items during the block; unresolved items are cancelled at its end.

        Args:
            count: number of items, which are then in `reservation.pending`.
            deadline: absolute monotonic time after which the results are useless, or None.

        Raises:
            Overloaded: too little capacity is free.
            DeadlineUnmeetable: the results are expected after the deadline.
            BatcherClosed: the batcher is closing.
        """
        reservation = self._queue.reserve(count, deadline)
        try:
            yield reservation
        finally:
            for pending in reservation.pending:
                if pending.is_pending:
                    pending.cancel()
            self._queue.release(reservation)

    def close(self, timeout_s: float | None = None) -> None:
        """Reject new items, run what is queued, and end the threads. Blocks; must not run on the event loop."""
        self._queue.close()
        end = None if timeout_s is None else clock() + timeout_s
        for worker in self._workers:
            worker.join(None if end is None else max(0.0, end - clock()))
