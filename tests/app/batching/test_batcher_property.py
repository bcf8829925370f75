"""Properties of the batcher under random traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.batcher import Batcher
from app.batching.request import BatchResult
from app.errors import BatcherClosed, BatchFailed
from tests.support.batcher_calls import run_item


@settings(max_examples=60)
@given(
    items=st.lists(st.tuples(st.integers(0, 99), st.booleans()), max_size=40),
    max_batch=st.integers(1, 8),
    failing=st.integers(0, 99),
)
def test_every_caller_gets_its_own_outcome(items: list[tuple[int, bool]], max_batch: int, failing: int) -> None:
    """Items are a number, and True if its caller cancels it; `failing` fails the batch that includes it."""
    batches: list[list[int]] = []

    def run(batch: Sequence[int]) -> list[int]:
        batches.append(list(batch))
        if failing in batch:
            raise ValueError(failing)
        return [2 * item for item in batch]

    async def run_all() -> None:
        batcher: Batcher[int, int] = Batcher(run, name="test", max_batch=max_batch, capacity=64)
        tasks = [asyncio.create_task(run_item(batcher, number)) for number, _ in items]
        await asyncio.sleep(0)
        for task, (_, is_cancelled) in zip(tasks, items, strict=True):
            if is_cancelled:
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for (number, is_cancelled), result in zip(items, results, strict=True):
            if isinstance(result, BatchResult):
                assert result.result == 2 * number
                assert 1 <= result.batch_size <= max_batch
            elif isinstance(result, BatchFailed):
                assert any(failing in batch and number in batch for batch in batches)
            else:
                assert isinstance(result, asyncio.CancelledError)
                assert is_cancelled
        assert batcher.status().waiting == 0
        await asyncio.to_thread(batcher.close)

    asyncio.run(run_all())
    assert all(len(batch) <= max_batch for batch in batches)
    ran = [number for batch in batches for number in batch]
    assert len(ran) <= len(items)
    assert all(ran.count(number) <= [item for item, _ in items].count(number) for number in ran)


@settings(max_examples=40)
@given(
    fates=st.lists(st.sampled_from(["prepared", "failed", "cancelled", "never prepared"]), max_size=24),
    shares_cores=st.booleans(),
)
def test_no_item_stays_unresolved_whatever_its_preparation_does(fates: list[str], shares_cores: bool) -> None:
    async def run_all() -> None:
        batcher: Batcher[int, int] = Batcher(
            lambda items: [2 * item for item in items],
            name="test",
            max_batch=4,
            capacity=64,
            shares_cores=shares_cores,
            preferred_batch_sizes=[1, 2, 4],
        )
        with batcher.reserve(len(fates)) as reservation, ThreadPoolExecutor(3) as threads:
            tasks = [asyncio.create_task(pending.result()) for pending in reservation.pending]
            await asyncio.sleep(0)
            for number, (fate, pending) in enumerate(zip(fates, reservation.pending, strict=True)):
                if fate == "failed":
                    threads.submit(pending.fail, ZeroDivisionError())
                elif fate != "never prepared":
                    threads.submit(pending.enqueue, number)
                if fate == "cancelled":
                    tasks[number].cancel()
            settled = [task for task, fate in zip(tasks, fates, strict=True) if fate != "never prepared"]
            await asyncio.wait_for(asyncio.gather(*settled, return_exceptions=True), 60)
            await asyncio.to_thread(batcher.close)
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for number, (fate, result) in enumerate(zip(fates, results, strict=True)):
            if fate == "prepared":
                assert isinstance(result, BatchResult)
                assert result.result == 2 * number
                assert 1 <= result.batch_size <= 4
            else:
                expected = {
                    "failed": ZeroDivisionError,
                    "cancelled": asyncio.CancelledError,
                    "never prepared": BatcherClosed,
                }[fate]
                assert isinstance(result, expected)
        assert batcher.status().waiting == 0

    asyncio.run(run_all())
