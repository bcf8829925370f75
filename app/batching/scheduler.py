"""Who waits for a batch, who runs in one, and how long that will take: the books of `app.batching.batcher`.

No thread and no clock: every method is told the time, so that each law can be tested at any time.

    reserve ──▶ place ──join──▶ entry that waits ──take──▶ batch that runs ──finish──▶ place again, by release
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.batching.delay import EWMA, Delay
from app.batching.estimators import EstimateError
from app.batching.policy import BatchPolicy
from app.errors import DeadlineUnmeetable, Overloaded

Item = TypeVar("Item")

#: How much longer than usual a batch is thought to take where a deadline hangs on it.
_CAUTION = 1.25

#: Share of a full batch from which on the parts of what is divided among lanes wait to become full ones.
_NEARLY = 0.75


@dataclass(eq=False)
class QueuedItem(Generic[Item]):
    """An item that waits; times in seconds of the clock that the line is told."""

    item: Item
    enqueued: float
    deadline: float | None = None


@dataclass(eq=False)
class ScheduledBatch(Generic[Item]):
    """Entries that run together, in the order in which they came, and those that it left behind as too late."""

    items: Sequence[QueuedItem[Item]]
    expired: Sequence[QueuedItem[Item]]
    started: float
    concurrent: bool = False
    """Whether it leaves cores to others, so that it is done later."""


class BatchScheduler(Generic[Item]):
    """A bounded line of items before one or more lanes that run them in batches."""

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
        """Open an empty line.

        Args:
            places: items that may be held at a time: announced, waiting or running.
            max_batch: items of one batch at most.
            max_run_s: how long a batch may take, if it has more than one item.
            max_delay_s: how long the oldest item may wait for its batch to fill, while a lane is free.
            lanes: batches that may run at a time.
            shares_cores: whether the cores that run batches make the items too, so that a batch that waits for them
                leaves nothing idle. Then what fills batches runs in several beside each other, each on its share of
                the cores, which takes least of their time; less than that runs on all cores, and so is done soonest.
            sizes: of batches that run well, 1 among them; none means all.
        """
        self.free = self._capacity = capacity
        self._workers, self._shares_cores = workers, shares_cores
        self._runs_concurrently = shares_cores and workers > 1
        self.sizes = BatchPolicy(
            max_batch,
            max_run_s=max_run_s,
            workers=workers if shares_cores else 1,
            preferred_batch_sizes=preferred_batch_sizes,
        )
        self._idle_since = -math.inf
        self._waiting: deque[QueuedItem[Item]] = deque()
        self._running: list[ScheduledBatch[Item]] = []
        self._delay, self._lead = Delay(max_delay_s), EWMA()
        self._estimate_error = EstimateError()

    @property
    def depth(self) -> int:
        """Items that wait for a batch."""
        return len(self._waiting)

    def reserve(self, count: int, now: float, deadline: float | None = None) -> float:
        """Hold places for items that are still being made.

        Returns:
            when their results can be expected.

        Raises:
            Overloaded: fewer are free.
            DeadlineUnmeetable: by all that is known, the results would come after the deadline.
        """
        expected = self.estimate_wait_s(count, now)
        if self.free < count:
            raise Overloaded("The server has as much work as it can hold.", retry_after_s=expected)
        # An empty line takes everything: an estimate that nothing is allowed to run against would stay wrong for ever.
        surely = expected + self._estimate_error.margin_s
        if deadline is not None and now + surely > deadline and self.free < self._capacity:
            raise DeadlineUnmeetable(
                f"An answer may take {surely:.1f} s, longer than the deadline allows.",
                retry_after_s=now + surely - deadline,
            )
        self.free -= count
        return now + expected

    def release(self, count: int) -> None:
        """Give places back."""
        self.free += count

    def observe_wait(self, promised: float, now: float) -> None:
        """Note that a result that was expected then has come now, or has not come in time; estimates learn from it."""
        self._estimate_error.observe(now - promised)

    def enqueue(self, entry: QueuedItem[Item], lead_s: float | None = None) -> None:
        """Put an item at the end; `lead_s` is how long it took from its reservation, where that tells of one item."""
        if lead_s is not None:
            self._lead.add(lead_s)
        self._delay.arrived(entry.enqueued)
        self._waiting.append(entry)

    def remove(self, entry: QueuedItem[Item]) -> bool:
        """Take an item out that nobody wants any more; False if it does not wait."""
        if entry not in self._waiting:
            return False
        self._waiting.remove(entry)
        return True

    def next_due_s(self, now: float, unprepared: int = 0) -> float | None:
        """Seconds until a lane that is free should take a batch: 0 for at once, None while nothing waits.

        Args:
            now: the time.
            being_made: items that will join, unless they cannot be made.
        """
        if not self._waiting or not self._may_begin(len(self._waiting)):
            return None
        if len(self._waiting) >= self.sizes.target_size:
            return 0.0
        begin = max(self._delay.end(self._waiting[0].enqueued), self._preparation_ends(unprepared))
        if begin <= now:
            return 0.0
        deadlines = [entry.deadline for entry in self._waiting if entry.deadline is not None]
        if deadlines:
            begin = min(begin, min(deadlines) - self.sizes.seconds(len(self._waiting), concurrent=bool(self._running)))
        return max(0.0, begin - now)

    def _may_begin(self, waiting: int) -> bool:
        """Whether a batch may begin beside those that run, as far as a lane is free for it: one that is no smaller."""
        if not self._running or not self._shares_cores:
            return True
        return waiting >= self._minimum_concurrent_size and all(batch.concurrent for batch in self._running)

    @property
    def _minimum_concurrent_size(self) -> int:
        """As the largest that runs, but no larger than a batch may be now."""
        return min(self.sizes.target_size, max(len(batch.items) for batch in self._running))

    def _next_target(self, here: int) -> tuple[int, bool]:
        """Of so many items, those of the next batch, and whether it runs beside others on its share of the cores.

        Fewer than fill a batch run on all cores, and so are done soonest. More are divided among the lanes: no thread
        of one batch then waits for another one, and none of the cores for work.
        """
        full = self.sizes.target_size
        if self._runs_concurrently and self._running:
            each = here // max(1, self._workers - len(self._running))
            return min(full, max(self._minimum_concurrent_size, each)), True
        if self._runs_concurrently and len(self._waiting) >= full > 1:
            each = max(1, here // self._workers)
            return (each if each < _NEARLY * full else full), True
        return min(full, here), False

    def _preparation_ends(self, unprepared: int) -> float:
        """Until when a batch leaves the cores to items that are being made: a larger one costs less for each.

        For no longer than it then runs, so that to wait at most doubles what its items take.
        """
        if not self._shares_cores or not unprepared or self._running:
            return -math.inf
        size = min(self.sizes.target_size, len(self._waiting) + unprepared)
        return max(self._waiting[0].enqueued, self._idle_since) + self.sizes.seconds(size, concurrent=False)

    def next_batch(self, now: float, unprepared: int = 0) -> ScheduledBatch[Item]:
        """Begin the next batch, which may be empty; it runs until it is finished."""
        entries: list[QueuedItem[Item]] = []
        late: list[QueuedItem[Item]] = []
        part, beside = self._next_target(len(self._waiting) + unprepared)
        size = self._next_size(min(part, len(self._waiting)), now, beside=beside)
        while self._waiting and len(entries) < size:
            entry = self._waiting.popleft()
            is_late = entry.deadline is not None and now >= entry.deadline
            (late if is_late else entries).append(entry)
        batch = ScheduledBatch(entries, late, now, beside)
        if entries:
            self._running.append(batch)
        return batch

    def _next_size(self, most: int, now: float, *, beside: bool) -> int:
        """As many as there may be, or so few that the first of them is in time.

        Beside others in a size that runs well. On all cores, a small rest would cost more than a size that does not.
        """
        ahead = [entry.deadline for entry in itertools.islice(self._waiting, most) if entry.deadline is not None]
        first = min((deadline for deadline in ahead if deadline > now), default=math.inf)
        within_s = (first - now) / _CAUTION
        size = self.sizes.largest_size(most, concurrent=True) if beside else most
        if self.sizes.seconds(size, concurrent=beside) <= within_s:
            return size
        return self.sizes.largest_size(size, within_s, concurrent=beside) or size

    def complete(self, batch: ScheduledBatch[Item], now: float, *, learn: bool = True) -> None:
        """Note that a batch has run; `learn` if it ran as batches usually do."""
        self._running.remove(batch)
        self._idle_since = now
        if learn:
            self.sizes.observe(len(batch.items), now - batch.started, concurrent=batch.concurrent)

    def clear(self) -> list[QueuedItem[Item]]:
        """Send away all that wait; gives them."""
        left = list(self._waiting)
        self._waiting.clear()
        return left

    def estimate_wait_s(self, count: int, now: float) -> float:
        """Seconds until the results of `count` more items can be expected, behind all that is held."""
        running = sum(len(batch.items) for batch in self._running)
        before = max(
            len(self._waiting), self._capacity - self.free - running
        )  # some that run may have left their place
        full = self.sizes.target_size
        rounds, rest = divmod(before + count - 1, full)
        own_s = self.sizes.seconds(rest + 1, concurrent=self._runs_concurrently and rest + 1 == full)
        others_s = math.ceil(rounds / self._workers) * self.sizes.seconds(full, concurrent=self._runs_concurrently)
        return self._until_free_s(now, before + count) + others_s + own_s + (self._lead.value or 0.0)

    def _until_free_s(self, now: float, will_wait: int) -> float:
        """Seconds until the next batch may begin: not beside one that has all cores."""
        left_s = [
            self.sizes.seconds(len(batch.items), concurrent=batch.concurrent) - (now - batch.started)
            for batch in self._running
        ]
        if not self._may_begin(will_wait):
            return max([0.0, *left_s])
        return max(0.0, min(left_s)) if len(left_s) >= self._workers else 0.0
