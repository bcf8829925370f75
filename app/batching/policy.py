"""Decide when a batch may begin, how large it is, and whether it uses all cores or a share of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.batching.request import Queued, ScheduledBatch
from app.batching.run_time import RunTimeModel

_DEADLINE_FACTOR = 1.25
"""Factor on the predicted run time of a batch whose first deadline is near. A judgement: a larger one misses fewer
deadlines and makes smaller batches, which cost more time per image."""

_ALMOST_FULL = 0.75
"""Share of a full batch from which equal parts for all workers are not worth it: the first worker gets a full batch.
A judgement: dividing fills idle cores when few items wait (at 299 px, 16 clients: 130-140 -> 185-210 images/s), but
costs up to 5 % when there are almost enough items for full batches (docs/benchmarks.md)."""

_PROBE_INTERVAL = 200
"""Batches without one above the target size, after which a larger one is tried. A judgement: a probe takes up to twice
the allowed time, so one in 200 costs half a percent."""


class BatchPolicy:
    """Decides the size of batches for one model; learns from the batches that ran."""

    def __init__(
        self,
        max_batch: int,
        *,
        max_run_s: float = math.inf,
        workers: int = 1,
        shares_cores: bool = False,
        preferred_batch_sizes: Sequence[int] = (),
    ) -> None:
        """Create a policy; until a batch has run, every batch is expected to take no time.

        Args:
            max_batch: maximum number of items in a batch.
            max_run_s: maximum duration of a batch of more than one item.
            workers: number of batches that may run at the same time.
            shares_cores: True if all batches run on the same cores, so that several share them.
            preferred_batch_sizes: batch sizes that run efficiently, 1 among them; empty means all.
        """
        sizes = preferred_batch_sizes or range(1, max_batch + 1)
        self._descending_sizes = [size for size in reversed(sizes) if size <= max_batch]
        self._max_batch, self._max_run_s = max_batch, max_run_s
        self._workers, self._shares_cores = workers, shares_cores
        self.runs_concurrently = shares_cores and workers > 1
        self.run_time = RunTimeModel(workers if shares_cores else 1)
        self._batches = 0
        self._observed_at: dict[int, int] = {}  # size -> number of the batch
        self.target_size = max_batch
        """Size of a full batch: the largest efficient one within `max_run_s`."""

    def observe(self, size: int, seconds: float, *, concurrent: bool) -> None:
        """Take into account a batch that ran."""
        self.run_time.observe(size, seconds, concurrent=concurrent)
        self._batches += 1
        self._observed_at[size] = self._batches
        self.update_target()

    def update_target(self) -> None:
        """Choose the size of a full batch again, after a batch or after time without one.

        A larger size than that of the estimates is tried if none was observed for `_PROBE_INTERVAL` batches: while all
        batches have one size, nothing else would show that larger ones have become fast enough.
        """
        size = self.largest_size(self._max_batch, self._max_run_s, concurrent=self.runs_concurrently) or 1
        larger = [candidate for candidate in self._descending_sizes if candidate > size]
        observed_at = max((at for seen, at in self._observed_at.items() if seen > size), default=0)
        is_due = larger and self._batches - observed_at >= _PROBE_INTERVAL
        self.target_size = larger[-1] if is_due else size

    def largest_size(self, limit: int, within_s: float = math.inf, *, concurrent: bool) -> int:
        """Return the largest efficient size up to `limit` that runs within `within_s`, or 0."""
        sizes = (size for size in self._descending_sizes if size <= limit)
        return self.run_time.first_within(sizes, within_s, concurrent=concurrent)

    def may_begin(self, waiting: int, running: Sequence[ScheduledBatch[Queued]]) -> bool:
        """Return True if a batch may begin beside the running ones, provided that a worker is free.

        On shared cores it must be at least as large as those: smaller ones take longer for each item.
        """
        if not running or not self._shares_cores:
            return True
        return waiting >= self._min_concurrent_size(running) and all(batch.concurrent for batch in running)

    def until_free_s(self, now: float, waiting: int, running: Sequence[ScheduledBatch[Queued]]) -> float:
        """Return the expected seconds until a worker is free and the next batch may begin."""
        remaining_s = [
            self.run_time.predict_s(len(batch.items), concurrent=batch.concurrent) - (now - batch.started_at)
            for batch in running
        ]
        if not self.may_begin(waiting, running):
            return max([0.0, *remaining_s])
        return max(0.0, min(remaining_s)) if len(remaining_s) >= self._workers else 0.0

    def preparation_wait_s(self, waiting: int, unprepared: int, running: Sequence[ScheduledBatch[Queued]]) -> float:
        """Return the seconds that a batch on idle shared cores waits for items that are being prepared, at most.

        No core is idle meanwhile, and a larger batch takes less time for each item. The batch waits for as long as it
        then runs, so that waiting at most doubles the time of its items.
        """
        if not self._shares_cores or not unprepared or running:
            return 0.0
        return self.run_time.predict_s(min(self.target_size, waiting + unprepared), concurrent=False)

    def next_limit(self, waiting: int, unprepared: int, running: Sequence[ScheduledBatch[Queued]]) -> tuple[int, bool]:
        """Return the maximum size of the next batch, and True if it runs concurrently on a share of the cores.

        Fewer items than a full batch run on all cores, which takes the least time. More items are divided among the
        workers: then no thread of one batch waits for another one, and no core is idle.

        Args:
            waiting: number of items in the queue.
            unprepared: number of items that will be queued soon.
            running: batches that are running.
        """
        expected, full = waiting + unprepared, self.target_size
        if self.runs_concurrently and running:
            part = expected // max(1, self._workers - len(running))
            return min(full, waiting, max(self._min_concurrent_size(running), part)), True
        if self.runs_concurrently and waiting >= full > 1:
            part = max(1, expected // self._workers)
            return min(waiting, part if part < _ALMOST_FULL * full else full), True
        return min(full, waiting), False

    def fit_size(self, limit: int, remaining_s: float, *, concurrent: bool) -> int:
        """Return the size of a batch of at most `limit` items that ends within `remaining_s`, if there is one.

        A concurrent batch has an efficient size. On all cores a few items left over would cost more than an inefficient
        size does.
        """
        size = self.largest_size(limit, concurrent=True) if concurrent else limit
        within_s = remaining_s / _DEADLINE_FACTOR
        if self.run_time.predict_s(size, concurrent=concurrent) <= within_s:
            return size
        return self.largest_size(size, within_s, concurrent=concurrent) or size

    def _min_concurrent_size(self, running: Sequence[ScheduledBatch[Queued]]) -> int:
        """Return the size of the largest running batch, limited to that of a full one."""
        return min(self.target_size, max(len(batch.items) for batch in running))
