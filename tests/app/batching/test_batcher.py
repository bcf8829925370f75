from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from app.batching import watchdog as vitals
from app.batching.batcher import Batcher
from app.batching.request import BatchResult
from app.batching.watchdog import MAX_FAILURES
from app.errors import BatcherClosed, BatchFailed, DeadlineExceeded, DeadlineUnmeetable, Overloaded

pytestmark = pytest.mark.anyio


class Held:
    """Doubles numbers, but only while it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.began = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.began.release()
        assert self.go.wait(60)
        return [2 * item for item in items]


def make(
    run: Callable[[Sequence[int]], Sequence[int]], max_batch: int = 4, places: int = 64, max_delay_s: float = 0
) -> Batcher[int, int]:
    return Batcher(run, name="test", max_batch=max_batch, capacity=places, max_delay_s=max_delay_s)


async def busy(batcher: Batcher[int, int], run: Held) -> asyncio.Task[BatchResult[int]]:
    """Have the batcher run a batch of one, so that what follows has to wait."""
    first = asyncio.create_task(ask(batcher, 0))
    await asyncio.to_thread(run.began.acquire)
    return first


async def ask(batcher: Batcher[int, int], item: int, deadline: float | None = None) -> BatchResult[int]:
    with batcher.reserve(1, deadline) as place:
        asked = batcher.submit(place)
        batcher.enqueue(asked, item)
        return await batcher.result(asked)


def submit(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[BatchResult[int]]]:
    return [asyncio.create_task(ask(batcher, item)) for item in items]


async def test_each_caller_gets_its_own_result() -> None:
    batcher = make(lambda items: [2 * item for item in items], places=100)
    outcomes = await asyncio.gather(*(ask(batcher, number) for number in range(100)))
    assert [outcome.result for outcome in outcomes] == [2 * number for number in range(100)]
    batcher.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_batches_run_after_the_event_loop() -> None:
    batcher = make(lambda items: [os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) for _ in items])
    found = await ask(batcher, 0)
    assert found.result == min(19, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) + 3)
    await asyncio.to_thread(batcher.close)


async def test_what_arrives_while_a_batch_runs_makes_up_the_next() -> None:
    run = Held()
    batcher = make(run, max_batch=4)
    first = await busy(batcher, run)
    rest = submit(batcher, *range(1, 7))
    await asyncio.sleep(0.01)
    assert batcher.depth == 6
    run.go.set()
    outcomes = await asyncio.gather(first, *rest)
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert [outcome.batch_size for outcome in outcomes] == [1, 4, 4, 4, 4, 2, 2]
    batcher.close()


async def test_times_of_waiting_and_running_are_told_apart() -> None:
    run = Held()
    batcher = make(run)
    first = await busy(batcher, run)
    (second,) = submit(batcher, 1)
    await asyncio.sleep(0.05)
    run.go.set()
    assert (await first).run_s >= 0.05
    assert (await second).queue_s >= 0.04
    assert (await second).run_s < (await first).run_s
    batcher.close()


async def test_without_a_delay_a_lone_item_runs_at_once() -> None:
    batcher = make(lambda items: items, max_batch=100)
    assert (await ask(batcher, 1)).batch_size == 1
    batcher.close()


async def test_with_a_delay_a_batch_waits_to_fill_but_not_longer() -> None:
    patient = make(lambda items: items, max_batch=2, max_delay_s=0.1)
    assert (await ask(patient, 1)).queue_s >= 0.09
    patient.close()
    very_patient = make(lambda items: items, max_batch=2, max_delay_s=1000)
    outcomes = await asyncio.gather(ask(very_patient, 1), ask(very_patient, 2))
    assert [outcome.batch_size for outcome in outcomes] == [2, 2]
    very_patient.close()


async def test_places_are_bounded_and_come_back() -> None:
    batcher = make(lambda items: items, places=3)
    with batcher.reserve(2):
        with pytest.raises(Overloaded), batcher.reserve(2):
            pass
        with batcher.reserve(1), pytest.raises(Overloaded), batcher.reserve():
            pass
    with batcher.reserve(3):
        pass
    batcher.close()


async def test_a_place_comes_back_after_an_error() -> None:
    batcher = make(lambda items: items, places=1)
    with pytest.raises(ZeroDivisionError), batcher.reserve():
        raise ZeroDivisionError
    with batcher.reserve():
        pass
    batcher.close()


async def test_a_cancelled_item_is_never_run() -> None:
    run = Held()
    batcher = make(run)
    first = await busy(batcher, run)
    gone, stays = submit(batcher, 1, 2)
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    assert batcher.depth == 1
    run.go.set()
    await asyncio.gather(first, stays)
    assert run.batches == [[0], [2]]
    batcher.close()


async def test_cancelling_an_item_that_runs_harms_nobody() -> None:
    run = Held()
    batcher = make(run, max_batch=2)
    first = await busy(batcher, run)
    first.cancel()
    run.go.set()
    assert (await ask(batcher, 5)).result == 10
    batcher.close()


async def test_cancelling_all_that_waits_leaves_the_batcher_working() -> None:
    batcher = make(lambda items: items, max_delay_s=0.05)
    waiting = submit(batcher, 1, 2)
    await asyncio.sleep(0.01)
    for each in waiting:
        each.cancel()
    assert (await ask(batcher, 3)).result == 3
    batcher.close()


async def test_an_item_whose_deadline_passed_is_not_run() -> None:
    run = Held()
    batcher = make(run)
    first = await busy(batcher, run)
    late = asyncio.create_task(ask(batcher, 1, deadline=time.monotonic() + 0.01))
    in_time = asyncio.create_task(ask(batcher, 2, deadline=time.monotonic() + 100))
    await asyncio.sleep(0.03)
    run.go.set()
    with pytest.raises(DeadlineExceeded):
        await late
    await asyncio.gather(first, in_time)
    assert run.batches == [[0], [2]]
    batcher.close()


@pytest.mark.parametrize("error", [ValueError, MemoryError, SystemExit, KeyboardInterrupt])
async def test_an_error_reaches_everyone_in_its_batch_and_nobody_else(error: type[BaseException]) -> None:
    run = Held()

    def fail_on_three(items: Sequence[int]) -> Sequence[int]:
        if 3 in items:
            raise error("three")
        return run(items)

    batcher = make(fail_on_three, max_batch=2)
    first = await busy(batcher, run)
    rest = submit(batcher, 1, 2, 3, 4)
    await asyncio.sleep(0.01)
    run.go.set()
    await first
    results = await asyncio.gather(*rest, return_exceptions=True)
    assert [isinstance(result, BatchFailed) for result in results] == [False, False, True, True]
    assert isinstance(results[2], BatchFailed)
    assert isinstance(results[2].__cause__, error)
    assert (await ask(batcher, 5)).result == 10
    batcher.close()


async def test_a_wrong_number_of_results_is_an_error() -> None:
    batcher = make(lambda items: [1, 2, 3])
    with pytest.raises(BatchFailed):
        await ask(batcher, 1)
    batcher.close()


async def test_nobody_waits_for_a_thread_that_died() -> None:
    def broken(size: int, seconds: float) -> None:
        raise ZeroDivisionError

    batcher: Batcher[int, int] = Batcher(lambda items: items, name="test", max_batch=1, capacity=9, on_batch=broken)
    results = await asyncio.gather(*submit(batcher, 1, 2, 3), return_exceptions=True)
    assert all(isinstance(result, BatcherClosed) for result in results)
    with pytest.raises(BatcherClosed):
        await ask(batcher, 4)
    with pytest.raises(BatcherClosed), batcher.reserve():
        pass


async def test_closing_answers_what_waits_and_takes_nothing_more() -> None:
    run = Held()
    batcher = make(run, max_batch=1)
    first = await busy(batcher, run)
    waiting = submit(batcher, 1, 2)
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(asyncio.to_thread(batcher.close))
    await asyncio.sleep(0.01)
    with pytest.raises(BatcherClosed):
        await ask(batcher, 3)
    run.go.set()
    outcomes = await asyncio.gather(first, *waiting)
    assert [outcome.result for outcome in outcomes] == [0, 2, 4]
    await closing


async def test_batches_are_told_with_their_sizes() -> None:
    seen: list[int] = []
    batcher: Batcher[int, int] = Batcher(
        lambda items: items, name="test", max_batch=4, capacity=9, on_batch=lambda size, _: seen.append(size)
    )
    await asyncio.gather(*submit(batcher, 1, 2, 3))
    assert sum(seen) == 3
    batcher.close()


async def test_lanes_run_side_by_side() -> None:
    lanes = [Held(), Held()]
    batcher: Batcher[int, int] = Batcher(*lanes, name="test", max_batch=1, capacity=9)
    tasks = submit(batcher, 1, 2)
    for lane in lanes:
        await asyncio.to_thread(lane.began.acquire)
    for lane in lanes:
        lane.go.set()
    assert [outcome.result for outcome in await asyncio.gather(*tasks)] == [2, 4]
    await asyncio.to_thread(batcher.close)
    assert not batcher.is_alive


async def test_a_lane_that_dies_closes_the_batcher_but_spares_what_another_runs() -> None:
    held = Held()
    deaths: list[str] = []

    def told(_size: int, _seconds: float) -> None:
        with suppress(IndexError):  # one lane alone finds something to take
            raise ZeroDivisionError(deaths.pop())

    batcher: Batcher[int, int] = Batcher(held, held, name="test", max_batch=1, capacity=9, on_batch=told)
    spared = await busy(batcher, held)
    doomed = await busy(batcher, held)
    (waiting,) = submit(batcher, 3)
    await asyncio.sleep(0.01)
    deaths.append("of one lane")
    held.go.set()
    outcomes = await asyncio.gather(spared, doomed, waiting, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes[:2]) == ["Closed", "Outcome"]
    while batcher.is_alive:  # noqa: ASYNC110 -- a thread has no event to wait for
        await asyncio.sleep(0.001)
    with pytest.raises(BatcherClosed):
        await ask(batcher, 4)
    await asyncio.to_thread(batcher.close)


async def test_a_device_that_fails_at_every_batch_is_told_dead_and_one_that_recovers_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_broken = True
    monkeypatch.setattr(vitals, "FAILING_S", 0.0)

    def run(items: Sequence[int]) -> Sequence[int]:
        if is_broken:
            raise OSError("device lost")
        return items

    batcher = make(run, max_batch=1)
    for _ in range(MAX_FAILURES - 1):
        with pytest.raises(BatchFailed):
            await ask(batcher, 1)
    assert batcher.is_alive
    is_broken = False
    await ask(batcher, 1)
    is_broken = True
    for _ in range(MAX_FAILURES):
        assert batcher.is_alive
        with pytest.raises(BatchFailed):
            await ask(batcher, 1)
    assert not batcher.is_alive
    monkeypatch.setattr(vitals, "FAILING_S", 60.0)
    assert batcher.is_alive, "it may lack memory for a moment only"
    batcher.close()


async def test_a_batch_that_runs_for_minutes_is_told_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vitals, "LONGEST_S", 0.05)
    run = Held()
    batcher = make(run)
    first = await busy(batcher, run)
    assert batcher.is_alive
    await asyncio.sleep(0.06)
    assert not batcher.is_alive
    run.go.set()
    await first
    assert batcher.is_alive, "it was only slow"
    batcher.close()


async def test_a_deadline_that_cannot_be_met_is_refused_before_anything_is_made() -> None:
    run = Held()
    batcher = make(run, max_batch=1)
    first = await busy(batcher, run)
    await asyncio.sleep(0.1)
    run.go.set()
    await first
    run.go.clear()
    second = await busy(batcher, run)
    with pytest.raises(DeadlineUnmeetable) as refused, batcher.reserve(1, time.monotonic() + 0.01):
        pass
    assert refused.value.retry_after_s > 0
    with batcher.reserve(1, time.monotonic() + 60):
        pass
    run.go.set()
    await second
    batcher.close()


async def test_an_item_that_is_given_up_while_it_is_made_never_joins_the_line() -> None:
    ran: list[int] = []

    def run(items: Sequence[int]) -> Sequence[int]:
        ran.extend(items)
        return items

    batcher = make(run)
    with batcher.reserve(2) as place:
        asked = batcher.submit(place)
        waits = asyncio.create_task(batcher.result(asked))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait([waits])
        await asyncio.to_thread(batcher.enqueue, asked, 1)
        other = batcher.submit(place)
        batcher.enqueue(other, 2)
        assert (await batcher.result(other)).result == 2
    assert ran == [2]
    batcher.close()


async def test_whoever_asked_hears_why_an_item_could_not_be_made() -> None:
    batcher = make(lambda items: items)
    with batcher.reserve() as place:
        asked = batcher.submit(place)
        await asyncio.to_thread(batcher.fail, asked, ZeroDivisionError("no such picture"))
        with pytest.raises(ZeroDivisionError, match="no such picture"):
            await batcher.result(asked)
    batcher.close()


async def test_closing_answers_those_whose_items_are_never_made() -> None:
    batcher = make(lambda items: items)
    with batcher.reserve() as place:
        asked = batcher.submit(place)
        await asyncio.to_thread(batcher.close)
        with pytest.raises(BatcherClosed):
            await batcher.result(asked)
        batcher.enqueue(asked, 1)


async def test_a_batch_on_shared_cores_begins_when_nothing_is_being_made_any_more() -> None:
    sizes: list[int] = []
    batcher: Batcher[int, int] = Batcher(
        lambda items: items,
        name="test",
        max_batch=8,
        capacity=9,
        shares_cores=True,
        on_batch=lambda size, seconds: sizes.append(size),
    )
    await ask(batcher, 0)
    with batcher.reserve(3) as place:
        first, second, never = [batcher.submit(place) for _ in range(3)]
        batcher.enqueue(first, 1)
        batcher.enqueue(second, 2)
        batcher.fail(never, ValueError("unreadable"))
        assert [(await batcher.result(each)).result for each in (first, second)] == [1, 2]
        with pytest.raises(ValueError, match="unreadable"):
            await batcher.result(never)
    assert sum(sizes) == 3
    batcher.close()


async def test_a_full_batch_on_shared_cores_runs_in_its_own_way() -> None:
    alone, beside = Held(), Held()
    batcher: Batcher[int, int] = Batcher(
        alone, alone, concurrent=beside, name="test", max_batch=2, capacity=9, shares_cores=True
    )
    first = await busy(batcher, alone)
    others = submit(batcher, 1, 2)
    await asyncio.sleep(0)
    assert batcher.depth == 2
    alone.go.set()
    await asyncio.to_thread(beside.began.acquire)
    await asyncio.to_thread(beside.began.acquire)
    beside.go.set()
    assert [(await each).result for each in (first, *others)] == [0, 2, 4]
    await asyncio.to_thread(batcher.close)
    assert (alone.batches, sorted(beside.batches)) == ([[0]], [[1], [2]]), "divided among the lanes"
