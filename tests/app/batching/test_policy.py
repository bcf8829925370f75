"""Batch sizes, and which batches run at the same time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batching.policy import BatchPolicy
from app.batching.request import QueuedItem, ScheduledBatch
from app.batching.scheduler import BatchScheduler

ITEM_S = 0.1


def trained(policy: BatchPolicy, *, concurrent: bool = False) -> BatchPolicy:
    """Let a policy observe batches that take time in proportion to their size."""
    for size in (1, 2, 4, 8):
        policy.observe(size, size * ITEM_S, concurrent=concurrent)
    return policy


def make_scheduler(max_batch: int = 4, workers: int = 2, max_run_s: float = math.inf) -> BatchScheduler[QueuedItem]:
    return BatchScheduler(capacity=100, max_batch=max_batch, max_run_s=max_run_s, workers=workers, shares_cores=True)


def enqueue(scheduler: BatchScheduler[QueuedItem], count: int) -> None:
    for _ in range(count):
        scheduler.enqueue(QueuedItem())


def begin_batch(scheduler: BatchScheduler[QueuedItem]) -> ScheduledBatch[QueuedItem]:
    batch = scheduler.next_batch(0.0)
    assert batch.items
    return batch


def test_every_size_is_allowed_before_a_batch_has_run() -> None:
    assert BatchPolicy(16, max_run_s=0.001).target_size == 16


@pytest.mark.parametrize(("max_run_s", "target_size"), [(10, 16), (1.65, 16), (1.05, 10), (0.35, 3), (0.05, 1)])
def test_batch_of_several_items_takes_no_longer_than_allowed(max_run_s: float, target_size: int) -> None:
    assert trained(BatchPolicy(16, max_run_s=max_run_s)).target_size == target_size


def test_target_size_is_a_preferred_size() -> None:
    assert trained(BatchPolicy(16, max_run_s=0.75, preferred_batch_sizes=[1, 2, 4, 8, 16])).target_size == 4


def test_allowed_time_is_that_of_concurrent_batches() -> None:
    policy = BatchPolicy(16, max_run_s=0.85, workers=2, shares_cores=True)
    assert trained(policy).target_size == 4
    policy = BatchPolicy(16, max_run_s=0.85, workers=2, shares_cores=True)
    assert trained(policy, concurrent=True).target_size == 8


@given(
    st.lists(st.tuples(st.integers(1, 16), st.floats(0, 10), st.booleans()), max_size=30),
    st.floats(0.001, 5),
    st.integers(1, 4),
)
def test_target_size_always_exists(batches: Sequence[tuple[int, float, bool]], max_run_s: float, workers: int) -> None:
    sizes = [1, 2, 4, 8, 16]
    policy = BatchPolicy(16, max_run_s=max_run_s, workers=workers, shares_cores=True, preferred_batch_sizes=sizes)
    for size, seconds, concurrent in batches:
        policy.observe(size, seconds, concurrent=concurrent)
        assert policy.target_size in sizes
        run_s = policy.run_time.predict_s(policy.target_size, concurrent=workers > 1)
        assert policy.target_size == 1 or run_s <= max_run_s


def test_full_batches_run_concurrently() -> None:
    scheduler = make_scheduler()
    enqueue(scheduler, 9)
    first, second = begin_batch(scheduler), begin_batch(scheduler)
    assert (first.concurrent, second.concurrent) == (True, True)
    assert scheduler.next_due_s(0.0) is None, "the ninth would wait for its cores, and later items for it"
    scheduler.complete(first, 1.0)
    assert scheduler.next_due_s(1.0) is None
    scheduler.complete(second, 1.0)
    assert scheduler.next_due_s(1.0) == 0
    assert not begin_batch(scheduler).concurrent, "it has all cores"


@given(st.integers(8, 60), st.integers(2, 4))
def test_full_batch_is_divided_so_that_every_worker_has_items(count: int, workers: int) -> None:
    scheduler = make_scheduler(max_batch=8, workers=workers)
    enqueue(scheduler, count)
    sizes = list[int]()
    while len(sizes) < workers and scheduler.next_due_s(0.0) == 0:
        batch = begin_batch(scheduler)
        assert batch.concurrent
        sizes.append(len(batch.items))
    assert min(sizes) >= min(8, count // workers)
    assert max(sizes) <= 8
    if count < 0.75 * 8 * workers:
        assert sum(sizes) == count


def test_items_that_will_fill_every_worker_are_not_divided() -> None:
    scheduler = make_scheduler(max_batch=8)
    enqueue(scheduler, 8)
    assert len(scheduler.next_batch(0.0, unprepared=8).items) == 8
    enqueue(scheduler, 7)
    assert scheduler.next_due_s(0.0, unprepared=1) is None, "the last one is being prepared"


def test_concurrent_batch_is_no_smaller_than_the_running_ones() -> None:
    scheduler = make_scheduler(max_batch=8)
    enqueue(scheduler, 8)
    first, second = begin_batch(scheduler), begin_batch(scheduler)
    assert (len(first.items), len(second.items)) == (4, 4)
    scheduler.complete(first, 1.0)
    enqueue(scheduler, 3)
    assert scheduler.next_due_s(1.0) is None
    enqueue(scheduler, 1)
    assert scheduler.next_due_s(1.0) == 0
    assert begin_batch(scheduler).concurrent


def test_no_batch_begins_beside_one_that_has_all_cores() -> None:
    scheduler = make_scheduler()
    enqueue(scheduler, 3)
    exclusive = begin_batch(scheduler)
    assert not exclusive.concurrent
    enqueue(scheduler, 8)
    assert scheduler.next_due_s(0.0) is None
    scheduler.complete(exclusive, 1.0)
    assert scheduler.next_due_s(1.0) == 0


def test_batches_of_any_size_run_at_the_same_time_on_separate_devices() -> None:
    scheduler: BatchScheduler[QueuedItem] = BatchScheduler(capacity=100, max_batch=4, workers=2)
    enqueue(scheduler, 1)
    begin_batch(scheduler)
    enqueue(scheduler, 1)
    assert scheduler.next_due_s(0.0) == 0
    assert not begin_batch(scheduler).concurrent


def test_new_items_are_expected_after_the_batches_of_all_workers() -> None:
    scheduler = make_scheduler()
    for size in (1, 2, 4):
        scheduler.policy.observe(size, size * ITEM_S, concurrent=True)
    enqueue(scheduler, 8)
    begin_batch(scheduler), begin_batch(scheduler)
    assert scheduler.estimate_wait_s(4, 0.0) == pytest.approx(2 * 4 * ITEM_S)


def test_only_a_full_batch_is_expected_beside_a_concurrent_one() -> None:
    scheduler = make_scheduler()
    for size in (1, 2, 4):
        scheduler.policy.observe(size, size * ITEM_S, concurrent=True)
        scheduler.policy.observe(size, size * ITEM_S / 2, concurrent=False)
    enqueue(scheduler, 8)
    begin_batch(scheduler)
    scheduler.clear()
    assert scheduler.estimate_wait_s(1, 0.1) == pytest.approx(4 * ITEM_S - 0.1 + ITEM_S / 2)
    assert scheduler.estimate_wait_s(4, 0.1) == pytest.approx(4 * ITEM_S)


def test_next_larger_size_is_tried_after_200_batches() -> None:
    policy = BatchPolicy(16, max_run_s=0.15, preferred_batch_sizes=[1, 2, 4, 8, 16])
    policy.observe(1, 0.1, concurrent=False)
    for _ in range(198):
        policy.observe(1, 0.1, concurrent=False)
    assert policy.target_size == 1
    policy.observe(1, 0.1, concurrent=False)
    assert policy.target_size == 2
    policy.observe(2, 0.2, concurrent=False)
    assert policy.target_size == 1, "it takes too long still"


def test_batch_can_begin_when_the_first_of_all_workers_is_free() -> None:
    policy = trained(BatchPolicy(8, workers=2))
    running = [ScheduledBatch([QueuedItem()] * size, [], 10.0) for size in (4, 2)]
    assert policy.until_free_s(10.1, 1, running) == pytest.approx(2 * ITEM_S - 0.1)
    assert policy.until_free_s(10.1, 1, running[:1]) == 0, "a worker is free"
    assert policy.until_free_s(99, 1, running) == 0


def test_preparation_is_waited_for_no_longer_than_a_full_batch_runs() -> None:
    policy = trained(BatchPolicy(4, shares_cores=True))
    assert policy.preparation_wait_s(1, 2, []) == pytest.approx(3 * ITEM_S)
    assert policy.preparation_wait_s(1, 50, []) == pytest.approx(4 * ITEM_S)
    assert policy.preparation_wait_s(1, 0, []) == 0
    assert policy.preparation_wait_s(1, 2, [ScheduledBatch([QueuedItem()], [], 0)]) == 0


def test_batch_before_a_deadline_has_a_quarter_of_its_time_to_spare() -> None:
    policy = trained(BatchPolicy(8))
    assert policy.fit_size(8, 8 * ITEM_S * 1.251, concurrent=False) == 8
    assert policy.fit_size(8, 8 * ITEM_S * 1.249, concurrent=False) == 7
    assert policy.fit_size(8, ITEM_S * 1.249, concurrent=False) == 8, "too late for any size"


def test_single_item_has_all_cores_however_slow_it_is() -> None:
    scheduler = make_scheduler(max_run_s=0.01)
    scheduler.policy.observe(1, 1.0, concurrent=False)
    assert scheduler.policy.target_size == 1
    enqueue(scheduler, 1)
    assert not begin_batch(scheduler).concurrent


def test_batch_beside_others_is_as_large_as_the_largest_of_them_or_a_full_one() -> None:
    policy = BatchPolicy(8, workers=4, shares_cores=True)
    running = [ScheduledBatch([QueuedItem()] * size, [], 0, concurrent=True) for size in (2, 5)]
    assert [policy.may_begin(waiting, running) for waiting in (4, 5)] == [False, True]
    assert policy.next_limit(5, 0, running) == (5, True)
    policy.target_size = 3
    assert [policy.may_begin(waiting, running) for waiting in (2, 3)] == [False, True]
    assert policy.next_limit(9, 0, running) == (3, True)
