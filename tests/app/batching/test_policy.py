"""How large a batch may be, by how long it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.policy import BatchPolicy
from app.batching.scheduler import BatchScheduler, QueuedItem, ScheduledBatch

EACH_S = 0.1


def taught(sizes: BatchPolicy, *, beside: bool = False) -> BatchPolicy:
    for size in (1, 2, 4, 8):
        sizes.observe(size, size * EACH_S, concurrent=beside)
    return sizes


def line(max_batch: int = 4, lanes: int = 2, max_run_s: float = math.inf) -> BatchScheduler[int]:
    return BatchScheduler(capacity=100, max_batch=max_batch, max_run_s=max_run_s, workers=lanes, shares_cores=True)


def join(some: BatchScheduler[int], count: int) -> None:
    for number in range(count):
        some.enqueue(QueuedItem(number, 0.0))


def taken(some: BatchScheduler[int]) -> ScheduledBatch[int]:
    batch = some.next_batch(0.0)
    assert batch.items
    return batch


def test_nothing_is_too_slow_before_anything_has_run() -> None:
    assert BatchPolicy(16, max_run_s=0.001).target_size == 16


@pytest.mark.parametrize(("allowed_s", "full"), [(10, 16), (1.65, 16), (1.05, 10), (0.35, 3), (0.05, 1)])
def test_a_batch_takes_no_longer_than_it_may_but_has_one_item(allowed_s: float, full: int) -> None:
    assert taught(BatchPolicy(16, max_run_s=allowed_s)).target_size == full


def test_it_has_a_size_that_runs_well() -> None:
    assert taught(BatchPolicy(16, max_run_s=0.75, preferred_batch_sizes=[1, 2, 4, 8, 16])).target_size == 4


def test_what_has_not_run_yet_is_estimated_by_the_lanes() -> None:
    alone, beside = taught(BatchPolicy(8, workers=2)), taught(BatchPolicy(8, workers=2), beside=True)
    assert alone.seconds(4, concurrent=True) == pytest.approx(2 * alone.seconds(4, concurrent=False))
    assert beside.seconds(4, concurrent=False) == pytest.approx(beside.seconds(4, concurrent=True) / 2)


def test_how_long_it_may_take_is_that_beside_others() -> None:
    assert taught(BatchPolicy(16, max_run_s=0.85, workers=2)).target_size == 4
    assert taught(BatchPolicy(16, max_run_s=0.85, workers=2), beside=True).target_size == 8


@given(
    st.lists(st.tuples(st.integers(1, 16), st.floats(0, 10), st.booleans()), max_size=30),
    st.floats(0.001, 5),
    st.integers(1, 4),
)
def test_there_is_always_a_size(batches: Sequence[tuple[int, float, bool]], allowed_s: float, lanes: int) -> None:
    sizes = BatchPolicy(16, max_run_s=allowed_s, workers=lanes, preferred_batch_sizes=[1, 2, 4, 8, 16])
    for size, seconds, beside in batches:
        sizes.observe(size, seconds, concurrent=beside)
        assert sizes.target_size in (1, 2, 4, 8, 16)
        assert sizes.target_size == 1 or sizes.seconds(sizes.target_size, concurrent=lanes > 1) <= allowed_s


def test_full_batches_run_beside_each_other() -> None:
    some = line()
    join(some, 9)
    first, second = taken(some), taken(some)
    assert (first.concurrent, second.concurrent) == (True, True)
    assert some.next_due_s(0.0) is None, "the ninth would wait for its cores, and others that come for it"
    some.complete(first, 1.0)
    assert some.next_due_s(1.0) is None
    some.complete(second, 1.0)
    assert some.next_due_s(1.0) == 0
    assert not taken(some).concurrent, "it has all cores for itself"


@given(st.integers(8, 60), st.integers(2, 4))
def test_what_fills_a_batch_is_divided_so_that_every_lane_has_some(count: int, lanes: int) -> None:
    some = line(max_batch=8, lanes=lanes)
    join(some, count)
    sizes = list[int]()
    while len(sizes) < lanes and some.next_due_s(0.0) == 0:
        batch = taken(some)
        assert batch.concurrent
        sizes.append(len(batch.items))
    assert min(sizes) >= min(8, count // lanes)
    assert max(sizes) <= 8
    if count < 0.75 * 8 * lanes:
        assert sum(sizes) == count


def test_what_will_fill_every_lane_is_not_divided() -> None:
    some = line(max_batch=8)
    join(some, 8)
    assert len(some.next_batch(0.0, unprepared=8).items) == 8
    join(some, 7)
    assert some.next_due_s(0.0, unprepared=1) is None, "the last one is being made"


def test_a_batch_begins_beside_one_that_is_no_larger() -> None:
    some = line(max_batch=8)
    join(some, 8)
    first, second = taken(some), taken(some)
    assert (len(first.items), len(second.items)) == (4, 4)
    some.complete(first, 1.0)
    join(some, 3)
    assert some.next_due_s(1.0) is None
    join(some, 1)
    assert some.next_due_s(1.0) == 0
    assert taken(some).concurrent


def test_nothing_runs_beside_one_that_has_all_cores() -> None:
    some = line()
    join(some, 3)
    alone = taken(some)
    assert not alone.concurrent
    join(some, 8)
    assert some.next_due_s(0.0) is None
    some.complete(alone, 1.0)
    assert some.next_due_s(1.0) == 0


def test_batches_of_devices_of_their_own_run_at_a_time_whatever_their_size() -> None:
    some: BatchScheduler[int] = BatchScheduler(capacity=100, max_batch=4, workers=2)
    join(some, 1)
    taken(some)
    join(some, 1)
    assert some.next_due_s(0.0) == 0
    assert not taken(some).concurrent


def test_who_comes_later_is_expected_behind_all_lanes() -> None:
    some = line()
    for size in (1, 2, 4):
        some.sizes.observe(size, size * EACH_S, concurrent=True)
    join(some, 8)
    taken(some), taken(some)
    assert some.estimate_wait_s(4, 0.0) == pytest.approx(2 * 4 * EACH_S)


def test_who_comes_while_one_runs_on_its_share_is_expected_behind_it_unless_a_batch_is_full() -> None:
    some = line()
    for size in (1, 2, 4):
        some.sizes.observe(size, size * EACH_S, concurrent=True)
        some.sizes.observe(size, size * EACH_S / 2, concurrent=False)
    join(some, 8)
    taken(some)
    some.clear()
    assert some.estimate_wait_s(1, 0.1) == pytest.approx(4 * EACH_S - 0.1 + EACH_S / 2)
    assert some.estimate_wait_s(4, 0.1) == pytest.approx(4 * EACH_S)


def test_a_single_item_has_all_cores_however_slow_it_is() -> None:
    some = line(max_run_s=0.01)
    some.sizes.observe(1, 1.0, concurrent=False)
    assert some.sizes.target_size == 1
    join(some, 1)
    assert not taken(some).concurrent
