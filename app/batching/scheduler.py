"""Scheduling of batches: which items wait, which batches run, and when the next one begins.

It has neither threads nor a clock: the caller passes the time, so that tests can move it. All times are seconds of one
monotonic clock.

    reserve ──▶ capacity held ──enqueue──▶ waiting ──next_batch──▶ running ──complete──▶ done ──release──▶ capacity free
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from typing import Generic

from app.batching.estimators import WaitEstimator
from app.batching.policy import BatchPolicy
from app.batching.request import Queued, ScheduledBatch
from app.batching.status import BatchingStatus
from app.errors import DeadlineUnmeetable, Overloaded

_FADE_INTERVAL_S = 0.1  # the target size is chosen again each time


class BatchScheduler(Generic[Queued]):
    """A bounded queue of items before one or more workers that run them in batches."""

    def __init__(
        self,
        *,
        capacity: int,
        max_batch: int,
        max_run_s: float = math.inf,
        max_delay_s: float = 0.0,
        workers: int = 1,
        shares_cores: bool = False,
        preferred_batch_sizes: Sequence[int] = (),
    ) -> None:
        """Create an empty queue; `app.batching.batcher.Batcher` describes the arguments."""
        self.free = self._capacity = capacity
        self._max_delay_s = max_delay_s
        self.policy = BatchPolicy(
            max_batch,
            max_run_s=max_run_s,
            workers=workers,
            shares_cores=shares_cores,
            preferred_batch_sizes=preferred_batch_sizes,
        )
        self._estimator = WaitEstimator(
            self.policy.run_time, workers=workers, runs_concurrently=self.policy.runs_concurrently
        )
        self._idle_since = self._faded_at = -math.inf
        self._waiting: deque[Queued] = deque()
        self._running: list[ScheduledBatch[Queued]] = []

    @property
    def depth(self) -> int:
        """Number of items that wait for a batch."""
        return len(self._waiting)

    def check_room(self, count: int, now: float, deadline: float | None = None) -> float:
        """Return when the results of `count` more items are expected.

        Raises:
            Overloaded: too little capacity is free.
            DeadlineUnmeetable: the results are expected after the deadline.
        """
        self._fade(now)
        wait_s = self.estimate_wait_s(count, now)
        if self.free < count:
            raise Overloaded("The server has as much work as it can hold.", retry_after_s=wait_s)
        # While nothing is held, everything is accepted: otherwise a wrong estimate would never be corrected.
        cautious_s = wait_s + self._estimator.margin_s
        if deadline is not None and now + cautious_s > deadline and self.free < self._capacity:
            if now + wait_s <= deadline:
                self._estimator.observe_rejection()
            raise DeadlineUnmeetable(
                f"The response may take {cautious_s:.1f} s, which is longer than the deadline allows.",
                retry_after_s=now + cautious_s - deadline,
            )
        return now + wait_s

    def reserve(self, count: int, now: float, deadline: float | None = None) -> float:
        """Hold capacity for items that are being prepared; returns and raises as `check_room` does."""
        expected_at = self.check_room(count, now, deadline)
        self.free -= count
        return expected_at

    def release(self, count: int) -> None:
        """Give capacity back."""
        self.free += count

    def observe_wait(self, expected_at: float, now: float) -> None:
        """Learn from a result that was expected at `expected_at` and arrived, or was given up as late, at `now`."""
        self._estimator.observe_error(now - expected_at)

    def enqueue(self, item: Queued, lead_s: float | None = None) -> None:
        """Append an item; `lead_s` is the time since its reservation, if that is typical of a single item."""
        if lead_s is not None:
            self._estimator.observe_lead(lead_s)
        self._waiting.append(item)

    def remove(self, item: Queued) -> bool:
        """Remove a cancelled item; return False if it does not wait."""
        try:
            self._waiting.remove(item)
        except ValueError:
            return False
        return True

    def next_due_s(self, now: float, unprepared: int = 0) -> float | None:
        """Return the seconds until a free worker should begin a batch: 0 for now, None while none can begin.

        Args:
            now: the time.
            unprepared: number of items that are being prepared.
        """
        waiting = len(self._waiting)
        if not waiting or not self.policy.may_begin(waiting, self._running):
            return None
        if waiting >= self.policy.target_size:
            return 0.0
        oldest = self._waiting[0].enqueued_at
        preparation_s = self.policy.preparation_wait_s(waiting, unprepared, self._running)
        begin = max(oldest + self._max_delay_s, max(oldest, self._idle_since) + preparation_s)
        if begin <= now:
            return 0.0
        deadline = min((item.deadline for item in self._waiting if item.deadline is not None), default=math.inf)
        run_s = self.policy.run_time.predict_s(waiting, concurrent=bool(self._running))
        return max(0.0, min(begin, deadline - run_s) - now)

    def next_batch(self, now: float, unprepared: int = 0) -> ScheduledBatch[Queued]:
        """Begin the next batch, which has no items if all were expired; otherwise `complete` must follow."""
        limit, concurrent = self.policy.next_limit(len(self._waiting), unprepared, self._running)
        deadlines = (item.deadline for item in itertools.islice(self._waiting, limit) if item.deadline is not None)
        first_deadline = min((deadline for deadline in deadlines if deadline > now), default=math.inf)
        size = self.policy.fit_size(limit, first_deadline - now, concurrent=concurrent)
        items: list[Queued] = []
        expired: list[Queued] = []
        while self._waiting and len(items) < size:
            item = self._waiting.popleft()
            is_expired = item.deadline is not None and now >= item.deadline
            (expired if is_expired else items).append(item)
        batch = ScheduledBatch(items, expired, now, concurrent)
        if items:
            self._running.append(batch)
        return batch

    def complete(self, batch: ScheduledBatch[Queued], now: float, *, learn: bool = True) -> None:
        """Note that a batch has ended; its duration improves the estimates if `learn`."""
        self._running.remove(batch)
        self._idle_since = now
        if learn:
            self._fade(now)
            self.policy.observe(len(batch.items), now - batch.started_at, concurrent=batch.concurrent)

    def _fade(self, now: float) -> None:
        """Let the predicted run times forget the past, at most every `_FADE_INTERVAL_S`."""
        if now - self._faded_at >= _FADE_INTERVAL_S:
            self._faded_at = now
            self.policy.run_time.fade(now)
            self.policy.update_target()

    def status(self) -> BatchingStatus:
        """Return what is held and what was learned."""
        policy, predict_s = self.policy, self.policy.run_time.predict_s
        return BatchingStatus(
            waiting=self.depth,
            free=self.free,
            capacity=self._capacity,
            target_size=policy.target_size,
            pace=policy.run_time.pace,
            concurrency=policy.run_time.concurrency,
            single_s=predict_s(1, concurrent=False),
            full_s=predict_s(policy.target_size, concurrent=policy.runs_concurrently),
            margin_s=self._estimator.margin_s,
        )

    def clear(self) -> list[Queued]:
        """Remove and return all waiting items."""
        items = list(self._waiting)
        self._waiting.clear()
        return items

    def estimate_wait_s(self, count: int, now: float) -> float:
        """Return the expected seconds until `count` more items have their results, behind all that is held."""
        running = sum(len(batch.items) for batch in self._running)
        # Some running items may have been cancelled and given their capacity back already.
        ahead = max(len(self._waiting), self._capacity - self.free - running)
        until_free_s = self.policy.until_free_s(now, ahead + count, self._running)
        return self._estimator.estimate_s(ahead + count, self.policy.target_size, until_free_s)
