"""The laws of the line, with a clock that the tests move."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.batching.scheduler import BatchScheduler, QueuedItem, ScheduledBatch
from app.errors import DeadlineUnmeetable, Overloaded

_PLACES, _MAX_BATCH, _LANES = 12, 4, 2


class Traffic(RuleBasedStateMachine):
    """Arrivals, cancellations, batches that take their time, and deadlines, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.line: BatchScheduler[int] = BatchScheduler(capacity=_PLACES, max_batch=_MAX_BATCH, workers=_LANES)
        self.count = 0
        self.announced: list[float | None] = []  # deadlines of places held for items that are still made
        self.waiting: list[QueuedItem[int]] = []
        self.running: list[ScheduledBatch[int]] = []
        self.answered: dict[int, str] = {}

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 5), allowed_s=st.none() | st.floats(0, 10))
    def someone_announces(self, count: int, allowed_s: float | None) -> None:
        deadline = None if allowed_s is None else self.now + allowed_s
        held = self.held
        try:
            self.line.reserve(count, self.now, deadline)
        except Overloaded:
            assert held + count > _PLACES
        except DeadlineUnmeetable:
            assert held, "an empty line refused"
        else:
            assert held + count <= _PLACES
            self.announced += [deadline] * count

    @precondition(lambda self: self.announced)
    @rule(made=st.booleans())
    def an_item_is_made_or_not(self, made: bool) -> None:
        deadline = self.announced.pop(0)
        if not made:
            self.line.release(1)
            return
        entry = QueuedItem(self.count, self.now, deadline)
        self.count += 1
        self.line.enqueue(entry, 0.1)
        self.waiting.append(entry)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def someone_leaves(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        assert self.line.remove(entry)
        assert not self.line.remove(entry)
        self.waiting.remove(entry)
        self.answer(entry, "left")

    @precondition(lambda self: len(self.running) < _LANES and self.line.due_in(self.now) == 0)
    @rule()
    def a_lane_takes(self) -> None:
        batch = self.line.next_batch(self.now)
        assert len(batch.items) <= _MAX_BATCH
        taken = [*batch.expired, *batch.items]
        expected = self.waiting[: len(taken)]
        assert sorted(entry.item for entry in taken) == [entry.item for entry in expected]
        assert [entry.item for entry in batch.items] == sorted(entry.item for entry in batch.items)
        assert all(entry.deadline is None or self.now < entry.deadline for entry in batch.items)
        assert all(entry.deadline is not None and self.now >= entry.deadline for entry in batch.expired)
        if len(batch.items) < _MAX_BATCH and not any(entry.deadline for entry in expected):
            assert len(taken) == len(self.waiting), "someone who could have come along was left"
        del self.waiting[: len(taken)]
        for entry in batch.expired:
            self.answer(entry, "late")
        if batch.items:
            self.running.append(batch)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, _LANES - 1), well=st.booleans())
    def a_batch_ends(self, which: int, well: bool) -> None:
        batch = self.running.pop(which % len(self.running))
        self.line.complete(batch, self.now, learn=well)
        for entry in batch.items:
            self.answer(entry, "result" if well else "failed")

    def answer(self, entry: QueuedItem[int], what: str) -> None:
        assert entry.item not in self.answered, "answered twice"
        self.answered[entry.item] = what
        self.line.release(1)

    @property
    def held(self) -> int:
        return len(self.announced) + len(self.waiting) + sum(len(batch.items) for batch in self.running)

    @invariant()
    def the_books_agree(self) -> None:
        assert self.line.free == _PLACES - self.held
        assert self.line.depth == len(self.waiting)
        assert math.isfinite(self.line.estimate_wait_s(1, self.now))
        assert self.line.estimate_wait_s(1, self.now) >= 0

    def teardown(self) -> None:
        while self.running:
            self.a_batch_ends(0, True)
        while self.line.next_due_s(self.now) is not None:
            self.a_lane_takes()
            while self.running:
                self.a_batch_ends(0, True)
        assert self.line.clear() == []
        assert set(self.answered) == set(range(self.count))
        assert self.line.free == _PLACES - len(self.announced)


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def line(**settings: float) -> BatchScheduler[str]:
    return BatchScheduler(**{"places": 100, "max_batch": 4, **settings})  # type: ignore[arg-type]


def join(line: BatchScheduler[str], *times: float, deadline: float | None = None) -> None:
    for time in times:
        line.reserve(1, time)
        line.enqueue(QueuedItem("item", time, deadline))


def run(line: BatchScheduler[str], began: float, seconds: float) -> None:
    line.complete(line.next_batch(began), began + seconds)


def test_nothing_is_due_while_nothing_waits() -> None:
    assert line().next_due_s(5) is None


def test_without_a_delay_what_waits_is_due_at_once() -> None:
    waiting = line()
    join(waiting, 1)
    assert waiting.next_due_s(1) == 0


def test_with_a_delay_the_first_item_sets_the_time() -> None:
    waiting = line(max_delay_s=0.5)
    join(waiting, 1.0)
    assert waiting.next_due_s(1.2) == pytest.approx(0.3)
    join(waiting, 1.2)
    assert waiting.next_due_s(1.2) == pytest.approx(0.3)
    assert waiting.next_due_s(1.6) == 0


def test_a_full_batch_waits_for_nobody() -> None:
    waiting = line(max_delay_s=9)
    join(waiting, 1, 1, 1, 1)
    assert waiting.next_due_s(1) == 0


def test_the_delay_ends_where_nobody_is_expected_in_time() -> None:
    waiting = line(max_delay_s=0.5)
    for second in range(5):
        join(waiting, second)
        run(waiting, second, 0.01)
    join(waiting, 5)
    assert waiting.next_due_s(5) == 0


def test_the_delay_ends_where_those_who_were_expected_did_not_come() -> None:
    waiting = line(max_delay_s=0.5, max_batch=50)
    join(waiting, *[number * 0.01 for number in range(20)])
    assert waiting.next_due_s(0.19) == pytest.approx(0.03)
    assert waiting.next_due_s(0.23) == 0


def test_a_deadline_ends_the_delay_in_time_for_its_batch() -> None:
    waiting = line(max_delay_s=9)
    join(waiting, 0)
    run(waiting, 0, 0.2)
    join(waiting, 5, deadline=6)
    assert waiting.next_due_s(5) == pytest.approx(0.8)


def test_what_is_ahead_decides_when_a_result_can_be_expected() -> None:
    waiting = line(max_batch=2)
    for began in range(8):  # one takes 1.5 s, two take 2 s
        join(waiting, *[float(began)] * (1 + began % 2))
        batch = waiting.next_batch(began)
        waiting.complete(batch, began + 1 + 0.5 * len(batch.items))
        waiting.release(len(batch.items))
    assert waiting.estimate_wait_s(1, 100) == pytest.approx(1.5)
    assert waiting.estimate_wait_s(3, 100) == pytest.approx(2 + 1.5)
    join(waiting, 100, 100, 100)
    running = waiting.next_batch(100)
    assert waiting.estimate_wait_s(1, 100.5) == pytest.approx(1.5 + 2)
    assert waiting.estimate_wait_s(2, 100.5) == pytest.approx(1.5 + 2 + 1.5)
    waiting.complete(running, 102)
    with pytest.raises(DeadlineUnmeetable) as refused:
        waiting.reserve(1, 102, deadline=103)
    assert refused.value.retry_after_s > 0
    waiting.reserve(1, 102, deadline=110)


def test_the_time_to_make_an_item_counts() -> None:
    waiting = line()
    waiting.reserve(1, 0)
    waiting.enqueue(QueuedItem("item", 0.7), 0.7)
    assert waiting.estimate_wait_s(1, 1) == pytest.approx(0.7)


def test_an_empty_line_refuses_nobody_however_wrong_its_estimate() -> None:
    waiting = line()
    join(waiting, 0)
    run(waiting, 0, 3600)
    waiting.release(1)
    waiting.reserve(1, 4000, deadline=4001)


def test_an_hour_without_arrivals_does_not_end_the_delay_for_long() -> None:
    waiting = line(max_delay_s=0.5, max_batch=200, places=200)
    join(waiting, *[number * 0.01 for number in range(50)])
    run(waiting, 0.5, 0.01)
    join(waiting, *[3600 + number * 0.01 for number in range(30)])
    due_in = waiting.next_due_s(3600.29)
    assert due_in is not None
    assert 0.02 < due_in < 0.06


def test_only_the_first_item_of_a_reservation_tells_how_long_one_takes() -> None:
    waiting = line()
    waiting.reserve(64, 0)
    waiting.enqueue(QueuedItem("item", 0.05), 0.05)
    for number in range(63):
        waiting.enqueue(QueuedItem("item", 0.05 * number), None)
    while waiting.depth:
        run(waiting, 5, 0.001)
    assert waiting.estimate_wait_s(1, 6) == pytest.approx(0.05, abs=0.05)


def test_a_batch_leaves_shared_cores_to_items_that_are_being_made() -> None:
    waiting = line(shares_cores=True, max_batch=8)
    join(waiting, 0)
    assert waiting.next_due_s(0) == 0, "nobody comes, so nothing is gained by waiting"
    run(waiting, 0, 0.1)
    join(waiting, 1)
    assert waiting.next_due_s(1, unprepared=2) == pytest.approx(0.3), "as long as a batch of the three would run"
    assert waiting.next_due_s(1) == 0


def test_what_was_left_waits_with_those_who_come_from_the_end_of_the_batch_before() -> None:
    waiting = line(shares_cores=True, max_batch=2)
    join(waiting, 0, 0, 0)
    run(waiting, 0, 0.2)
    assert waiting.next_due_s(0.2, unprepared=1) == pytest.approx(0.2)


def test_with_a_device_of_its_own_a_batch_waits_for_nobody() -> None:
    waiting = line()
    join(waiting, 0)
    run(waiting, 0, 0.1)
    join(waiting, 1)
    assert waiting.next_due_s(1, unprepared=5) == 0


def test_a_deadline_ends_the_wait_for_items_that_are_being_made() -> None:
    waiting = line(shares_cores=True, max_batch=8)
    join(waiting, 0)
    run(waiting, 0, 0.2)
    join(waiting, 1, deadline=1.25)
    assert waiting.next_due_s(1, unprepared=5) == pytest.approx(0.05)


def test_batches_beside_each_other_have_the_sizes_that_run_well() -> None:
    waiting: BatchScheduler[str] = BatchScheduler(
        capacity=100, max_batch=8, workers=2, shares_cores=True, preferred_batch_sizes=[1, 2, 4, 8]
    )
    join(waiting, *range(15))
    batches = [waiting.next_batch(20) for _ in range(2)]
    assert [(len(batch.items), batch.concurrent) for batch in batches] == [(8, True), (4, True)]


def test_a_batch_on_all_cores_leaves_no_small_rest_behind() -> None:
    waiting: BatchScheduler[str] = BatchScheduler(capacity=100, max_batch=8, preferred_batch_sizes=[1, 2, 4, 8])
    join(waiting, *range(7))
    assert len(waiting.next_batch(20).items) == 7


def test_a_batch_on_all_cores_that_would_be_late_has_a_size_that_runs_well() -> None:
    waiting: BatchScheduler[str] = BatchScheduler(capacity=100, max_batch=8, preferred_batch_sizes=[1, 2, 4, 8])
    for size in (1, 2, 4, 8):
        join(waiting, *[0.0] * size)
        run(waiting, 0, size / 10)
    join(waiting, 1, deadline=1.7)
    join(waiting, *[1.0] * 6)
    assert len(waiting.next_batch(1).items) == 4


def test_a_line_that_promises_too_much_learns_to_allow_for_it() -> None:
    waiting = line(max_batch=1)
    for second in range(300):  # each result comes half a second later than the line expects
        promised = waiting.reserve(1, 10.0 * second)
        waiting.enqueue(QueuedItem("item", 10.0 * second))
        run(waiting, 10.0 * second, 1.0)
        waiting.observe_wait(promised, promised + 0.5)
        waiting.release(1)
    join(waiting, 5000)
    with pytest.raises(DeadlineUnmeetable):
        waiting.reserve(1, 5000, deadline=5002.3)  # two seconds by the pace, and the half second that never fails
    waiting.reserve(1, 5000, deadline=5003)


def test_a_batch_is_small_enough_for_the_deadline_of_its_first() -> None:
    waiting = line(max_batch=8)
    for size in (1, 2, 4, 8):  # a tenth of a second for each item
        join(waiting, *[0.0] * size)
        run(waiting, 0, size / 10)
    join(waiting, 1, deadline=1.55)
    join(waiting, *[1.0] * 7)
    assert len(waiting.next_batch(1).items) == 4


def test_a_deadline_that_no_batch_can_keep_does_not_make_the_batch_small() -> None:
    waiting = line(max_batch=8)
    for size in (1, 2, 4, 8):
        join(waiting, *[0.0] * size)
        run(waiting, 0, size / 10)
    join(waiting, 1, deadline=1.01)
    join(waiting, *[1.0] * 7)
    assert len(waiting.next_batch(1).items) == 8
