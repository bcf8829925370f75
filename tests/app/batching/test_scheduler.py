"""The scheduler, with a clock that the tests move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.batching.request import QueuedItem, ScheduledBatch
from app.batching.scheduler import BatchScheduler
from app.errors import DeadlineUnmeetable, Overloaded

_CAPACITY, _MAX_BATCH, _WORKERS = 12, 4, 2


@dataclass(eq=False)
class NumberedItem(QueuedItem):
    number: int = 0


class Traffic(RuleBasedStateMachine):
    """Arrivals, cancellations, batches and deadlines in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler: BatchScheduler[NumberedItem] = BatchScheduler(
            capacity=_CAPACITY, max_batch=_MAX_BATCH, workers=_WORKERS
        )
        self.count = 0
        self.reserved: list[float | None] = []  # deadlines of the items that are being prepared
        self.waiting: list[NumberedItem] = []
        self.running: list[ScheduledBatch[NumberedItem]] = []
        self.outcomes: dict[int, str] = {}

    @rule(seconds=st.floats(0, 5))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 5), allowed_s=st.none() | st.floats(0, 10))
    def reserve(self, count: int, allowed_s: float | None) -> None:
        deadline = None if allowed_s is None else self.now + allowed_s
        held = self.held
        try:
            self.scheduler.reserve(count, self.now, deadline)
        except Overloaded:
            assert held + count > _CAPACITY
        except DeadlineUnmeetable:
            assert held, "an empty queue rejected an item"
        else:
            assert held + count <= _CAPACITY
            self.reserved += [deadline] * count

    @precondition(lambda self: self.reserved)
    @rule(is_prepared=st.booleans())
    def prepare(self, is_prepared: bool) -> None:
        deadline = self.reserved.pop(0)
        if not is_prepared:
            self.scheduler.release(1)
            return
        item = NumberedItem(deadline, self.now, self.count)
        self.count += 1
        self.scheduler.enqueue(item, 0.1)
        self.waiting.append(item)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.waiting))
        assert self.scheduler.remove(item)
        assert not self.scheduler.remove(item)
        self.waiting.remove(item)
        self.resolve(item, "cancelled")

    @precondition(lambda self: len(self.running) < _WORKERS and self.scheduler.next_due_s(self.now) == 0)
    @rule()
    def begin_batch(self) -> None:
        batch = self.scheduler.next_batch(self.now)
        assert len(batch.items) <= _MAX_BATCH
        removed = [*batch.expired, *batch.items]
        expected = self.waiting[: len(removed)]
        assert sorted(item.number for item in removed) == [item.number for item in expected]
        assert [item.number for item in batch.items] == sorted(item.number for item in batch.items)
        assert all(item.deadline is None or self.now < item.deadline for item in batch.items)
        assert all(item.deadline is not None and self.now >= item.deadline for item in batch.expired)
        if len(batch.items) < _MAX_BATCH and not any(item.deadline for item in expected):
            assert len(removed) == len(self.waiting), "the batch had room for another item"
        del self.waiting[: len(removed)]
        for item in batch.expired:
            self.resolve(item, "expired")
        if batch.items:
            self.running.append(batch)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, _WORKERS - 1), succeeds=st.booleans())
    def end_batch(self, which: int, succeeds: bool) -> None:
        batch = self.running.pop(which % len(self.running))
        self.scheduler.complete(batch, self.now, learn=succeeds)
        for item in batch.items:
            self.resolve(item, "result" if succeeds else "error")

    def resolve(self, item: NumberedItem, outcome: str) -> None:
        assert item.number not in self.outcomes, "resolved twice"
        self.outcomes[item.number] = outcome
        self.scheduler.release(1)

    @property
    def held(self) -> int:
        return len(self.reserved) + len(self.waiting) + sum(len(batch.items) for batch in self.running)

    @invariant()
    def counts_agree(self) -> None:
        assert self.scheduler.free == _CAPACITY - self.held
        assert self.scheduler.depth == len(self.waiting)
        assert math.isfinite(self.scheduler.estimate_wait_s(1, self.now))
        assert self.scheduler.estimate_wait_s(1, self.now) >= 0

    def teardown(self) -> None:
        while self.running:
            self.end_batch(0, True)
        while self.scheduler.next_due_s(self.now) is not None:
            self.begin_batch()
            while self.running:
                self.end_batch(0, True)
        assert self.scheduler.clear() == []
        assert set(self.outcomes) == set(range(self.count))
        assert self.scheduler.free == _CAPACITY - len(self.reserved)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=150, stateful_step_count=40)


def make_scheduler(
    max_batch: int = 4, *, max_delay_s: float = 0, shares_cores: bool = False
) -> BatchScheduler[QueuedItem]:
    return BatchScheduler(capacity=100, max_batch=max_batch, max_delay_s=max_delay_s, shares_cores=shares_cores)


def enqueue(scheduler: BatchScheduler[QueuedItem], *times: float, deadline: float | None = None) -> None:
    for time in times:
        scheduler.reserve(1, time)
        scheduler.enqueue(QueuedItem(deadline, time))


def run_batch(scheduler: BatchScheduler[QueuedItem], began: float, seconds: float) -> None:
    scheduler.complete(scheduler.next_batch(began), began + seconds)


def trained_scheduler(max_batch: int = 4, max_delay_s: float = 0) -> BatchScheduler[QueuedItem]:
    """Return a scheduler whose batches take a tenth of a second for each item."""
    scheduler = make_scheduler(max_batch, max_delay_s=max_delay_s)
    for size in (1, 2, 4):
        scheduler.policy.observe(size, size / 10, concurrent=False)
    return scheduler


def test_no_batch_is_due_while_the_queue_is_empty() -> None:
    assert make_scheduler().next_due_s(5) is None


def test_waiting_item_is_due_at_once_without_a_delay() -> None:
    scheduler = make_scheduler()
    enqueue(scheduler, 1)
    assert scheduler.next_due_s(1) == 0


def test_delay_counts_from_the_oldest_item() -> None:
    scheduler = make_scheduler(max_delay_s=0.5)
    enqueue(scheduler, 1.0)
    assert scheduler.next_due_s(1.2) == pytest.approx(0.3)
    enqueue(scheduler, 1.2)
    assert scheduler.next_due_s(1.2) == pytest.approx(0.3)
    assert scheduler.next_due_s(1.6) == 0


def test_full_batch_is_due_at_once() -> None:
    scheduler = make_scheduler(max_delay_s=9)
    enqueue(scheduler, 1, 1, 1, 1)
    assert scheduler.next_due_s(1) == 0


def test_delay_ends_early_enough_for_a_deadline() -> None:
    scheduler = make_scheduler(max_delay_s=9)
    enqueue(scheduler, 0)
    run_batch(scheduler, 0, 0.2)
    enqueue(scheduler, 5, deadline=6)
    assert scheduler.next_due_s(5) == pytest.approx(0.8)


def test_estimate_counts_the_batches_ahead() -> None:
    scheduler = make_scheduler(max_batch=2)
    for began in range(8):  # one takes 1.5 s, two take 2 s
        enqueue(scheduler, *[float(began)] * (1 + began % 2))
        batch = scheduler.next_batch(began)
        scheduler.complete(batch, began + 1 + 0.5 * len(batch.items))
        scheduler.release(len(batch.items))
    assert scheduler.estimate_wait_s(1, 100) == pytest.approx(1.5)
    assert scheduler.estimate_wait_s(3, 100) == pytest.approx(2 + 1.5)
    enqueue(scheduler, 100, 100, 100)
    running = scheduler.next_batch(100)
    assert scheduler.estimate_wait_s(1, 100.5) == pytest.approx(1.5 + 2)
    assert scheduler.estimate_wait_s(2, 100.5) == pytest.approx(1.5 + 2 + 1.5)
    scheduler.complete(running, 102)
    with pytest.raises(DeadlineUnmeetable) as error:
        scheduler.reserve(1, 102, deadline=103)
    wait_s = scheduler.estimate_wait_s(1, 102) + scheduler.status().margin_s
    assert error.value.retry_after_s == pytest.approx(wait_s - 1)
    assert f" {wait_s:.1f} s, which is longer than" in str(error.value)
    scheduler.reserve(1, 102, deadline=110)


def test_estimate_includes_the_preparation() -> None:
    scheduler = make_scheduler()
    scheduler.reserve(1, 0)
    scheduler.enqueue(QueuedItem(enqueued_at=0.7), 0.7)
    assert scheduler.estimate_wait_s(1, 1) == pytest.approx(0.7)


def test_estimate_counts_items_in_preparation_and_those_of_cancelled_requests() -> None:
    scheduler = trained_scheduler(max_batch=1)
    assert scheduler.estimate_wait_s(1, 0) == pytest.approx(0.1)
    scheduler.reserve(3, 0)
    assert scheduler.estimate_wait_s(1, 0) == pytest.approx(0.4), "three are being prepared"
    scheduler.enqueue(QueuedItem())
    scheduler.release(3)
    assert scheduler.estimate_wait_s(1, 0) == pytest.approx(0.2), "one waits, although its capacity is free"


def test_deadline_may_be_the_moment_of_the_expected_result() -> None:
    scheduler = trained_scheduler()
    enqueue(scheduler, 0)
    expected_at = scheduler.estimate_wait_s(1, 0)
    assert scheduler.check_room(1, 0, expected_at) == expected_at
    with pytest.raises(DeadlineUnmeetable):
        scheduler.check_room(1, 0, math.nextafter(expected_at, 0))


def test_full_queue_says_when_there_will_be_room() -> None:
    scheduler = trained_scheduler(max_batch=1)
    enqueue(scheduler, *[0.0] * 100)
    with pytest.raises(Overloaded) as error:
        scheduler.check_room(1, 0)
    assert error.value.retry_after_s == pytest.approx(10.1)


def test_earliest_deadline_of_all_waiting_items_ends_the_delay() -> None:
    scheduler = trained_scheduler(max_delay_s=9)
    for deadline in (7.0, 6.0, 8.0):
        enqueue(scheduler, 5, deadline=deadline)
    assert scheduler.next_due_s(5) == pytest.approx(1 - 0.3), "three items run for 0.3 s"


def test_failed_batch_teaches_nothing() -> None:
    scheduler = trained_scheduler()
    enqueue(scheduler, 0)
    scheduler.complete(scheduler.next_batch(0), 50, learn=False)
    assert scheduler.policy.run_time.predict_s(1, concurrent=False) == pytest.approx(0.1)


def test_slowdown_is_forgotten_while_nothing_runs() -> None:
    scheduler: BatchScheduler[QueuedItem] = BatchScheduler(capacity=9, max_batch=4, max_run_s=0.45)
    for size in (1, 2, 4):
        scheduler.policy.observe(size, size / 10, concurrent=False)
    scheduler.check_room(1, 0)
    for _ in range(20):
        enqueue(scheduler, 1)
        run_batch(scheduler, 1, 1)
        scheduler.release(1)
    assert scheduler.policy.target_size == 1
    scheduler.check_room(1, 100)
    assert scheduler.policy.target_size == 4


def test_run_times_fade_every_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, faded_at = trained_scheduler(), list[float]()
    monkeypatch.setattr(scheduler.policy.run_time, "fade", faded_at.append)
    for now in (0.0, 0.099, 0.1, 0.199, 0.2, 5.0, 5.05):
        scheduler.check_room(1, now)
    assert faded_at == [0, 0.1, 0.2, 5]


def test_rejection_says_how_long_the_response_may_take() -> None:
    scheduler = trained_scheduler()
    enqueue(scheduler, *[0.0] * 4)
    expected_s = scheduler.estimate_wait_s(1, 0)
    with pytest.raises(DeadlineUnmeetable, match=f"may take {expected_s:.1f} s, which is longer") as error:
        scheduler.check_room(1, 10, 10.2)
    assert error.value.retry_after_s == pytest.approx(expected_s - 0.2)


def test_status_tells_what_is_held_and_expected() -> None:
    scheduler: BatchScheduler[QueuedItem] = BatchScheduler(capacity=9, max_batch=4, workers=2, shares_cores=True)
    for size in (1, 2, 4):
        scheduler.policy.observe(size, size / 10, concurrent=False)
    enqueue(scheduler, 0, 0)
    scheduler.reserve(1, 0)
    scheduler.observe_wait(0, 5)
    status = scheduler.status()
    assert (status.waiting, status.free, status.capacity, status.target_size) == (2, 6, 9, 4)
    assert (status.single_s, status.full_s) == pytest.approx((0.1, 0.8))
    assert (status.pace, status.concurrency) == pytest.approx((1, 2))
    assert status.margin_s == pytest.approx(5 / 64 + 2 * 5 / 32)


def test_empty_queue_accepts_every_deadline_however_wrong_its_estimate() -> None:
    scheduler = make_scheduler()
    enqueue(scheduler, 0)
    run_batch(scheduler, 0, 3600)
    scheduler.release(1)
    scheduler.reserve(1, 4000, deadline=4001)


def test_only_the_first_item_of_a_reservation_counts_as_preparation_time() -> None:
    scheduler = make_scheduler()
    scheduler.reserve(64, 0)
    scheduler.enqueue(QueuedItem(enqueued_at=0.05), 0.05)
    for number in range(63):
        scheduler.enqueue(QueuedItem(enqueued_at=0.05 * number), None)
    while scheduler.depth:
        run_batch(scheduler, 5, 0.001)
    assert scheduler.estimate_wait_s(1, 6) == pytest.approx(0.05, abs=0.05)


def test_batch_on_shared_cores_waits_for_items_in_preparation() -> None:
    scheduler = make_scheduler(shares_cores=True, max_batch=8)
    enqueue(scheduler, 0)
    assert scheduler.next_due_s(0) == 0, "nothing is being prepared, so waiting gains nothing"
    run_batch(scheduler, 0, 0.1)
    enqueue(scheduler, 1)
    assert scheduler.next_due_s(1, unprepared=2) == pytest.approx(0.3), "as long as a batch of the three would run"
    assert scheduler.next_due_s(1) == 0


def test_wait_for_preparation_counts_from_the_end_of_the_previous_batch() -> None:
    scheduler = make_scheduler(shares_cores=True, max_batch=2)
    enqueue(scheduler, 0, 0, 0)
    run_batch(scheduler, 0, 0.2)
    assert scheduler.next_due_s(0.2, unprepared=1) == pytest.approx(0.2)


def test_batch_on_a_separate_device_does_not_wait_for_preparation() -> None:
    scheduler = make_scheduler()
    enqueue(scheduler, 0)
    run_batch(scheduler, 0, 0.1)
    enqueue(scheduler, 1)
    assert scheduler.next_due_s(1, unprepared=5) == 0


def test_deadline_ends_the_wait_for_preparation() -> None:
    scheduler = make_scheduler(shares_cores=True, max_batch=8)
    enqueue(scheduler, 0)
    run_batch(scheduler, 0, 0.2)
    enqueue(scheduler, 1, deadline=1.25)
    assert scheduler.next_due_s(1, unprepared=5) == pytest.approx(0.05)


def test_concurrent_batches_have_preferred_sizes() -> None:
    scheduler: BatchScheduler[QueuedItem] = BatchScheduler(
        capacity=100, max_batch=8, workers=2, shares_cores=True, preferred_batch_sizes=[1, 2, 4, 8]
    )
    enqueue(scheduler, *range(15))
    batches = [scheduler.next_batch(20) for _ in range(2)]
    assert [(len(batch.items), batch.concurrent) for batch in batches] == [(8, True), (4, True)]


def test_batch_on_all_cores_leaves_no_small_rest() -> None:
    scheduler: BatchScheduler[QueuedItem] = BatchScheduler(
        capacity=100, max_batch=8, preferred_batch_sizes=[1, 2, 4, 8]
    )
    enqueue(scheduler, *range(7))
    assert len(scheduler.next_batch(20).items) == 7


def test_batch_that_would_miss_a_deadline_has_a_preferred_size() -> None:
    scheduler: BatchScheduler[QueuedItem] = BatchScheduler(
        capacity=100, max_batch=8, preferred_batch_sizes=[1, 2, 4, 8]
    )
    for size in (1, 2, 4, 8):
        enqueue(scheduler, *[0.0] * size)
        run_batch(scheduler, 0, size / 10)
    enqueue(scheduler, 1, deadline=1.7)
    enqueue(scheduler, *[1.0] * 6)
    assert len(scheduler.next_batch(1).items) == 4


def test_estimates_that_are_too_low_add_a_margin() -> None:
    scheduler = make_scheduler(max_batch=1)
    for second in range(300):  # each result arrives half a second after its estimate
        expected_at = scheduler.reserve(1, 10.0 * second)
        scheduler.enqueue(QueuedItem(enqueued_at=10.0 * second))
        run_batch(scheduler, 10.0 * second, 1.0)
        scheduler.observe_wait(expected_at, expected_at + 0.5)
        scheduler.release(1)
    enqueue(scheduler, 5000)
    with pytest.raises(DeadlineUnmeetable):
        scheduler.reserve(1, 5000, deadline=5002.3)  # 2 s by the latency model, and the half second
    scheduler.reserve(1, 5000, deadline=5003)


def test_batch_is_small_enough_for_its_first_deadline() -> None:
    scheduler = make_scheduler(max_batch=8)
    for size in (1, 2, 4, 8):  # a tenth of a second for each item
        enqueue(scheduler, *[0.0] * size)
        run_batch(scheduler, 0, size / 10)
    enqueue(scheduler, 1, deadline=1.55)
    enqueue(scheduler, *[1.0] * 7)
    assert len(scheduler.next_batch(1).items) == 4


def test_deadline_that_no_size_can_meet_does_not_reduce_the_batch() -> None:
    scheduler = make_scheduler(max_batch=8)
    for size in (1, 2, 4, 8):
        enqueue(scheduler, *[0.0] * size)
        run_batch(scheduler, 0, size / 10)
    enqueue(scheduler, 1, deadline=1.01)
    enqueue(scheduler, *[1.0] * 7)
    assert len(scheduler.next_batch(1).items) == 8
