"""The batcher, with run functions that the tests control."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from app.batching.batcher import Batcher
from app.batching.request import BatchResult
from app.batching.scheduler import BatchScheduler
from app.batching.worker import MAX_BATCH_S, MAX_FAILING_S, MAX_FAILURES_IN_A_ROW, Worker
from app.errors import BatcherClosed, BatchFailed, DeadlineExceeded, DeadlineUnmeetable, Overloaded
from tests.support.batcher_calls import run_item
from tests.support.clocks import batching_clock
from tests.support.polling import eventually

pytestmark = pytest.mark.anyio


class BlockingRun:
    """A run function that doubles numbers, and blocks until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.release()
        assert self.go.wait(60)
        return [2 * item for item in items]


def make_batcher(
    run: Callable[[Sequence[int]], Sequence[int]], max_batch: int = 4, capacity: int = 64, max_delay_s: float = 0
) -> Batcher[int, int]:
    return Batcher(run, name="test", max_batch=max_batch, capacity=capacity, max_delay_s=max_delay_s)


async def start_blocking_batch(batcher: Batcher[int, int], run: BlockingRun) -> asyncio.Task[BatchResult[int]]:
    """Have a worker run a batch of one item, so that later items wait."""
    first = asyncio.create_task(run_item(batcher, 0))
    await asyncio.to_thread(run.began.acquire)
    return first


def start_items(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[BatchResult[int]]]:
    return [asyncio.create_task(run_item(batcher, item)) for item in items]


async def test_every_caller_gets_its_own_result() -> None:
    batcher = make_batcher(lambda items: [2 * item for item in items], capacity=100)
    results = await asyncio.gather(*(run_item(batcher, number) for number in range(100)))
    assert [result.result for result in results] == [2 * number for number in range(100)]
    batcher.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_batches_run_at_a_lower_priority_than_the_event_loop() -> None:
    batcher = make_batcher(lambda items: [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) for _ in items])
    result = await run_item(batcher, 0)
    assert result.result == min(19, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 3)
    await asyncio.to_thread(batcher.close)


async def test_items_that_arrive_during_a_batch_form_the_next_one() -> None:
    run = BlockingRun()
    batcher = make_batcher(run, max_batch=4)
    first = await start_blocking_batch(batcher, run)
    rest = start_items(batcher, *range(1, 7))
    await eventually(lambda: batcher.status().waiting == 6)
    run.go.set()
    results = await asyncio.gather(first, *rest)
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert [result.batch_size for result in results] == [1, 4, 4, 4, 4, 2, 2]
    batcher.close()


async def test_times_of_preparation_queue_and_run_are_measured_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, run, seconds = batching_clock(monkeypatch), BlockingRun(), list[float]()
    batcher: Batcher[int, int] = Batcher(
        run, name="test", max_batch=4, capacity=9, on_batch=lambda _, run_s: seconds.append(run_s)
    )
    with batcher.reserve(2) as reservation:
        first, second = reservation.pending
        clock.advance(1)
        first.enqueue(1)
        await asyncio.to_thread(run.began.acquire)
        clock.advance(2)
        second.enqueue(2)
        clock.advance(4)
        run.go.set()
        result = await first.result()
        assert (result.prepare_s, result.queue_s, result.run_s) == pytest.approx((1, 0, 6))
        result = await second.result()
        assert (result.prepare_s, result.queue_s, result.run_s) == pytest.approx((3, 4, 0))
    assert seconds == pytest.approx([6, 0])
    batcher.close()


async def test_single_item_runs_at_once_without_a_delay() -> None:
    batcher = make_batcher(lambda items: items, max_batch=100)
    assert (await run_item(batcher, 1)).batch_size == 1
    batcher.close()


async def test_delay_ends_when_the_batch_is_full() -> None:
    short = make_batcher(lambda items: items, max_batch=2, max_delay_s=0.2)
    assert (await run_item(short, 1)).queue_s >= 0.2
    short.close()
    long = make_batcher(lambda items: items, max_batch=2, max_delay_s=1000)
    results = await asyncio.gather(run_item(long, 1), run_item(long, 2))
    assert [result.batch_size for result in results] == [2, 2]
    long.close()


async def test_capacity_is_bounded_and_given_back() -> None:
    batcher = make_batcher(lambda items: items, capacity=3)
    with batcher.reserve(2):
        with pytest.raises(Overloaded), batcher.reserve(2):
            pass
        with batcher.reserve(1), pytest.raises(Overloaded), batcher.reserve():
            pass
    with batcher.reserve(3):
        pass
    batcher.close()


async def test_capacity_is_given_back_after_an_error() -> None:
    batcher = make_batcher(lambda items: items, capacity=1)
    with pytest.raises(ZeroDivisionError), batcher.reserve():
        raise ZeroDivisionError
    with batcher.reserve():
        pass
    batcher.close()


async def test_cancelled_item_leaves_the_queue() -> None:
    run = BlockingRun()
    batcher = make_batcher(run)
    first = await start_blocking_batch(batcher, run)
    cancelled, queued = start_items(batcher, 1, 2)
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert batcher.status().waiting == 1
    run.go.set()
    await asyncio.gather(first, queued)
    assert run.batches == [[0], [2]]
    batcher.close()


async def test_cancelling_a_running_item_leaves_the_batcher_working() -> None:
    run = BlockingRun()
    batcher = make_batcher(run, max_batch=2)
    first = await start_blocking_batch(batcher, run)
    first.cancel()
    run.go.set()
    assert (await run_item(batcher, 5)).result == 10
    batcher.close()


async def test_cancelling_all_queued_items_leaves_the_batcher_working() -> None:
    batcher = make_batcher(lambda items: items, max_delay_s=1)
    queued = start_items(batcher, 1, 2)
    await eventually(lambda: batcher.status().waiting == 2)
    for task in queued:
        task.cancel()
    assert (await run_item(batcher, 3)).result == 3
    batcher.close()


async def test_item_is_run_until_its_deadline_and_not_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, run = batching_clock(monkeypatch), BlockingRun()
    batcher = make_batcher(run)
    first = await start_blocking_batch(batcher, run)
    late = asyncio.create_task(run_item(batcher, 1, deadline=clock() + 1))
    in_time = asyncio.create_task(run_item(batcher, 2, deadline=clock() + 1.001))
    await eventually(lambda: batcher.status().waiting == 2)
    clock.advance(1)
    run.go.set()
    with pytest.raises(DeadlineExceeded):
        await late
    await asyncio.gather(first, in_time)
    assert run.batches == [[0], [2]]
    batcher.close()


@pytest.mark.parametrize("error", [ValueError, MemoryError, SystemExit, KeyboardInterrupt])
async def test_error_of_a_batch_reaches_only_its_own_items(error: type[BaseException]) -> None:
    run = BlockingRun()

    def fail_on_three(items: Sequence[int]) -> Sequence[int]:
        if 3 in items:
            raise error("three")
        return run(items)

    batcher = make_batcher(fail_on_three, max_batch=2)
    first = await start_blocking_batch(batcher, run)
    rest = start_items(batcher, 1, 2, 3, 4)
    await eventually(lambda: batcher.status().waiting == 4)
    run.go.set()
    await first
    results = await asyncio.gather(*rest, return_exceptions=True)
    assert [isinstance(result, BatchFailed) for result in results] == [False, False, True, True]
    assert isinstance(results[2], BatchFailed)
    assert isinstance(results[2].__cause__, error)
    assert (await run_item(batcher, 5)).result == 10
    batcher.close()


async def test_failed_batch_does_not_change_the_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seconds = batching_clock(monkeypatch), iter([1.0, 50.0])

    def run(items: Sequence[int]) -> Sequence[int]:
        clock.advance(next(seconds))
        return items if clock() < began + 10 else []

    began, batcher = clock(), make_batcher(run)
    await run_item(batcher, 1)
    assert batcher.status().single_s == pytest.approx(1)
    with pytest.raises(BatchFailed):
        await run_item(batcher, 2)
    assert batcher.status().single_s == pytest.approx(1)
    batcher.close()


async def test_items_of_one_reservation_do_not_count_as_late_results(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = batching_clock(monkeypatch)
    batcher = make_batcher(lambda items: items, max_batch=1)
    for is_typical, count, has_margin in ((True, 2, False), (False, 1, False), (True, 1, True)):
        with batcher.reserve(count) as reservation:
            reservation.pending[0].is_typical = is_typical
            clock.advance(5)
            for number, pending in enumerate(reservation.pending):
                pending.enqueue(number)
                await pending.result()
        assert (batcher.status().margin_s > 0) == has_margin
    batcher.close()


async def test_only_the_first_item_of_a_reservation_tells_how_long_preparation_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = batching_clock(monkeypatch)
    batcher = make_batcher(lambda items: items, max_batch=1)
    with batcher.reserve(2) as reservation:
        for number, pending in enumerate(reservation.pending):
            clock.advance(3)
            pending.enqueue(number)
            await pending.result()
        deadline = clock() + 5  # an estimate that takes both into account is 3.3 s
        assert batcher._queue._scheduler.check_room(1, clock(), deadline) - clock() == pytest.approx(3, abs=0.01)
    batcher.close()


@pytest.mark.parametrize(("waited_s", "has_margin"), [(9, False), (10, True)])
async def test_item_that_was_given_up_as_late_counts_as_late(
    monkeypatch: pytest.MonkeyPatch, waited_s: float, has_margin: bool
) -> None:
    clock, run = batching_clock(monkeypatch), BlockingRun()
    batcher = make_batcher(run)
    first = await start_blocking_batch(batcher, run)
    with batcher.reserve(1, clock() + 10) as reservation:
        reservation.pending[0].enqueue(1)
        clock.advance(waited_s)
    assert (batcher.status().margin_s > 0) == has_margin
    run.go.set()
    await first
    batcher.close()


async def test_full_batch_takes_no_longer_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = batching_clock(monkeypatch)

    def run(items: Sequence[int]) -> Sequence[int]:
        clock.advance(0.2 * len(items))
        return items

    batcher: Batcher[int, int] = Batcher(run, name="test", max_batch=8, capacity=9, max_run_s=0.5)
    assert batcher.status().target_size == 8
    await run_item(batcher, 1)
    assert batcher.status().target_size == 2
    batcher.close()


async def test_capacity_of_every_item_is_given_back() -> None:
    batcher = make_batcher(lambda items: items, capacity=5)
    for count in (1, 3, 5):
        with batcher.reserve(count):
            assert batcher.status().free == 5 - count
        assert batcher.status().free == 5
    batcher.close()


async def test_wrong_number_of_results_fails_the_batch() -> None:
    batcher = make_batcher(lambda items: [1, 2, 3])
    with pytest.raises(BatchFailed):
        await run_item(batcher, 1)
    batcher.close()


async def test_death_of_the_worker_fails_all_items() -> None:
    def raise_error(size: int, seconds: float) -> None:
        raise ZeroDivisionError

    batcher: Batcher[int, int] = Batcher(
        lambda items: items, name="test", max_batch=1, capacity=9, on_batch=raise_error
    )
    results = await asyncio.gather(*start_items(batcher, 1, 2, 3), return_exceptions=True)
    assert all(isinstance(result, BatcherClosed) for result in results)
    with pytest.raises(BatcherClosed):
        await run_item(batcher, 4)
    with pytest.raises(BatcherClosed), batcher.reserve():
        pass


def is_closed(batcher: Batcher[int, int]) -> bool:
    try:
        batcher.check_room()
    except BatcherClosed:
        return True
    return False


async def test_close_runs_queued_items_and_rejects_new_ones() -> None:
    run = BlockingRun()
    batcher = make_batcher(run, max_batch=1)
    first = await start_blocking_batch(batcher, run)
    queued = start_items(batcher, 1, 2)
    await eventually(lambda: batcher.status().waiting == 2)
    closing = asyncio.create_task(asyncio.to_thread(batcher.close))
    await eventually(lambda: is_closed(batcher))
    with pytest.raises(BatcherClosed):
        await run_item(batcher, 3)
    run.go.set()
    results = await asyncio.gather(first, *queued)
    assert [result.result for result in results] == [0, 2, 4]
    await closing


async def test_close_waits_for_all_workers_together_until_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, joined = batching_clock(monkeypatch), list[float | None]()
    batcher = Batcher(*[lambda items: items] * 3, name="test", max_batch=1, capacity=1)
    threads = list(batcher._workers)

    def join(worker: Worker[int, int], timeout_s: float | None) -> None:
        joined.append(timeout_s)
        clock.advance(3)

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "join", join)
        batcher.close(5)
        batcher.close()
    assert joined == [pytest.approx(5), pytest.approx(2), 0, None, None, None]
    for worker in threads:
        worker.join(60)
        assert not worker.is_alive


async def test_on_batch_is_called_with_batch_sizes() -> None:
    run, sizes = BlockingRun(), list[int]()
    batcher: Batcher[int, int] = Batcher(
        run, name="test", max_batch=4, capacity=9, on_batch=lambda size, _: sizes.append(size)
    )
    first = await start_blocking_batch(batcher, run)
    rest = start_items(batcher, 1, 2, 3, 4, 5, 6)
    await eventually(lambda: batcher.status().waiting == 6)
    run.go.set()
    results = await asyncio.gather(first, *rest)
    assert sizes == [1, 4, 2]
    assert [result.batch_size for result in results] == [1, 4, 4, 4, 4, 2, 2]
    batcher.close()


async def test_workers_run_in_parallel() -> None:
    runs = [BlockingRun(), BlockingRun()]
    batcher: Batcher[int, int] = Batcher(*runs, name="test", max_batch=1, capacity=9)
    tasks = start_items(batcher, 1, 2)
    for run in runs:
        await asyncio.to_thread(run.began.acquire)
    for run in runs:
        run.go.set()
    assert [result.result for result in await asyncio.gather(*tasks)] == [2, 4]
    await asyncio.to_thread(batcher.close)
    assert not batcher.is_alive


async def test_death_of_one_worker_spares_the_batch_of_another() -> None:
    run = BlockingRun()
    errors: list[str] = []

    def raise_once(_size: int, _seconds: float) -> None:
        with suppress(IndexError):  # only the first worker finds an error to raise
            raise ZeroDivisionError(errors.pop())

    batcher: Batcher[int, int] = Batcher(run, run, name="test", max_batch=1, capacity=9, on_batch=raise_once)
    running = [await start_blocking_batch(batcher, run) for _ in range(2)]
    (queued,) = start_items(batcher, 3)
    await eventually(lambda: batcher.status().waiting == 1)
    errors.append("the first worker dies")
    run.go.set()
    results = await asyncio.gather(*running, queued, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results[:2]) == ["BatchResult", "BatcherClosed"]
    await eventually(lambda: not batcher.is_alive)
    with pytest.raises(BatcherClosed):
        await run_item(batcher, 4)
    await asyncio.to_thread(batcher.close)


async def test_batcher_is_dead_while_all_batches_fail_and_alive_after_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_failing = True
    clock = batching_clock(monkeypatch)

    def run(items: Sequence[int]) -> Sequence[int]:
        if is_failing:
            raise OSError("device lost")
        return items

    batcher = make_batcher(run, max_batch=1)
    for _ in range(MAX_FAILURES_IN_A_ROW - 1):
        with pytest.raises(BatchFailed):
            await run_item(batcher, 1)
    clock.advance(MAX_FAILING_S + 1)
    assert batcher.is_alive
    is_failing = False
    await run_item(batcher, 1)
    is_failing = True
    for _ in range(MAX_FAILURES_IN_A_ROW - 1):
        with pytest.raises(BatchFailed):
            await run_item(batcher, 1)
        clock.advance(MAX_FAILING_S)
    assert batcher.is_alive, "too few failures"
    with pytest.raises(BatchFailed):
        await run_item(batcher, 1)
    assert not batcher.is_alive
    batcher.close()


async def test_many_failures_within_seconds_leave_the_batcher_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = batching_clock(monkeypatch)
    batcher = make_batcher(lambda items: [], max_batch=1)
    for _ in range(2 * MAX_FAILURES_IN_A_ROW):
        with pytest.raises(BatchFailed):
            await run_item(batcher, 1)
    clock.advance(MAX_FAILING_S)
    assert batcher.is_alive
    clock.advance(0.1)
    assert not batcher.is_alive
    batcher.close()


async def test_batcher_is_dead_while_a_batch_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, run = batching_clock(monkeypatch), BlockingRun()
    batcher = make_batcher(run)
    first = await start_blocking_batch(batcher, run)
    clock.advance(MAX_BATCH_S)
    assert batcher.is_alive
    clock.advance(0.1)
    assert not batcher.is_alive
    run.go.set()
    await first
    assert batcher.is_alive, "it was only slow"
    batcher.close()


async def test_deadline_before_the_expected_result_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, run = batching_clock(monkeypatch), BlockingRun()
    batcher = make_batcher(run, max_batch=1)
    first = await start_blocking_batch(batcher, run)
    clock.advance(3)
    run.go.set()
    await first
    run.go.clear()
    second = await start_blocking_batch(batcher, run)
    margin_s = batcher.status().margin_s
    for reject in (batcher.check_room, lambda count, deadline: batcher.reserve(count, deadline).__enter__()):
        with pytest.raises(DeadlineUnmeetable) as error:
            reject(1, clock() + 6 + margin_s - 0.5)
        assert error.value.retry_after_s == pytest.approx(0.5)
    with batcher.reserve(1, clock() + 6 + margin_s + 0.5):
        pass
    run.go.set()
    await second
    batcher.close()


async def test_item_cancelled_during_preparation_is_never_queued() -> None:
    ran: list[int] = []

    def run(items: Sequence[int]) -> Sequence[int]:
        ran.extend(items)
        return items

    batcher = make_batcher(run)
    with batcher.reserve(2) as reservation:
        cancelled, other = reservation.pending
        waiting = asyncio.create_task(cancelled.result())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.to_thread(cancelled.enqueue, 1)
        other.enqueue(2)
        assert (await other.result()).result == 2
    assert ran == [2]
    batcher.close()


async def test_unresolved_items_are_cancelled_at_the_end_of_the_reservation() -> None:
    run = BlockingRun()
    batcher = make_batcher(run)
    first = await start_blocking_batch(batcher, run)
    with batcher.reserve(2) as reservation:
        unprepared, queued = reservation.pending
        queued.enqueue(1)
        assert batcher.status().waiting == 1
    assert batcher.status().waiting == 0
    unprepared.enqueue(2)
    run.go.set()
    await first
    await asyncio.to_thread(batcher.close)
    assert run.batches == [[0]]


@pytest.mark.parametrize("is_prepared", [False, True])
async def test_error_does_not_keep_its_item_in_memory(is_prepared: bool) -> None:
    """The traceback of an error refers to the frames that awaited the item, so the item must not refer to the error."""

    def fail(_: Sequence[int]) -> Sequence[int]:
        raise ZeroDivisionError

    batcher = make_batcher(fail)

    async def pending_after_error() -> weakref.ref[object]:
        with suppress(Exception), batcher.reserve() as reservation:
            (pending,) = reservation.pending
            if is_prepared:
                pending.enqueue(1)
            else:
                pending.fail(ValueError())
            await pending.result()
        assert pending.item is None
        return weakref.ref(pending)

    gc.collect()
    gc.disable()  # a circle would be kept until the next collection
    try:
        pending = await pending_after_error()
        await asyncio.to_thread(batcher.close)
        assert pending() is None
    finally:
        gc.enable()


async def test_check_room_rejects_as_a_reservation_would_and_holds_nothing() -> None:
    batcher = make_batcher(lambda items: items, capacity=2)
    batcher.check_room(2)
    with batcher.reserve(2), pytest.raises(Overloaded):
        batcher.check_room()
    batcher.check_room(2)
    batcher.close()
    with pytest.raises(BatcherClosed):
        batcher.check_room()


async def test_result_raises_the_error_of_a_failed_preparation() -> None:
    batcher = make_batcher(lambda items: items)
    with batcher.reserve() as reservation:
        (pending,) = reservation.pending
        await asyncio.to_thread(pending.fail, ZeroDivisionError("no such image"))
        with pytest.raises(ZeroDivisionError, match="no such image"):
            await pending.result()
    batcher.close()


async def test_close_fails_items_that_are_not_prepared() -> None:
    batcher = make_batcher(lambda items: items)
    with batcher.reserve() as reservation:
        (pending,) = reservation.pending
        await asyncio.to_thread(batcher.close)
        with pytest.raises(BatcherClosed):
            await pending.result()
        pending.enqueue(1)


async def test_batch_on_shared_cores_begins_when_no_item_is_being_prepared() -> None:
    sizes: list[int] = []
    batcher: Batcher[int, int] = Batcher(
        lambda items: items,
        name="test",
        max_batch=8,
        capacity=9,
        shares_cores=True,
        on_batch=lambda size, seconds: sizes.append(size),
    )
    await run_item(batcher, 0)
    with batcher.reserve(3) as reservation:
        first, second, failed = reservation.pending
        first.enqueue(1)
        second.enqueue(2)
        failed.fail(ValueError("unreadable"))
        assert [(await pending.result()).result for pending in (first, second)] == [1, 2]
        with pytest.raises(ValueError, match="unreadable"):
            await failed.result()
    assert sum(sizes) == 3
    batcher.close()


async def test_full_batch_on_shared_cores_is_divided_among_the_workers() -> None:
    exclusive, concurrent = BlockingRun(), BlockingRun()
    batcher: Batcher[int, int] = Batcher(
        exclusive, exclusive, concurrent=concurrent, name="test", max_batch=2, capacity=9, shares_cores=True
    )
    first = await start_blocking_batch(batcher, exclusive)
    others = start_items(batcher, 1, 2)
    await asyncio.sleep(0)
    assert batcher.status().waiting == 2
    exclusive.go.set()
    await asyncio.to_thread(concurrent.began.acquire)
    await asyncio.to_thread(concurrent.began.acquire)
    concurrent.go.set()
    assert [(await task).result for task in (first, *others)] == [0, 2, 4]
    await asyncio.to_thread(batcher.close)
    assert (exclusive.batches, sorted(concurrent.batches)) == ([[0]], [[1], [2]])


async def test_workers_run_side_by_side_with_the_same_function_if_there_is_no_other() -> None:
    run = BlockingRun()
    batcher = Batcher(run, run, name="test", max_batch=1, capacity=8)
    pending = start_items(batcher, 1, 2)
    for _ in pending:
        assert await asyncio.to_thread(run.began.acquire, timeout=60)
    run.go.set()
    assert sorted(result.result for result in await asyncio.gather(*pending)) == [2, 4]


async def test_preferred_sizes_reach_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[dict[str, Any]] = []

    def create(**arguments: Any) -> BatchScheduler[Any]:
        created.append(arguments)
        return BatchScheduler(**arguments)

    monkeypatch.setattr("app.batching.batcher.BatchScheduler", create)
    Batcher(lambda items: items, name="test", max_batch=8, capacity=9, max_delay_s=2, preferred_batch_sizes=[1, 5])
    expected = {"max_batch": 8, "capacity": 9, "max_delay_s": 2, "workers": 1, "preferred_batch_sizes": [1, 5]}
    assert [{name: arguments[name] for name in expected} for arguments in created] == [expected]
