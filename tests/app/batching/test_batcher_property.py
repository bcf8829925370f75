from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.batcher import Batcher
from app.batching.request import BatchResult
from app.errors import BatcherClosed, BatchFailed
from tests.app.batching.test_batcher import ask


@settings(max_examples=60, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(0, 99), st.booleans()), max_size=40),
    max_batch=st.integers(1, 8),
    bad=st.integers(0, 99),
)
def test_whatever_happens_every_caller_hears_its_own_outcome(
    items: list[tuple[int, bool]], max_batch: int, bad: int
) -> None:
    """Items: a number, and whether its caller gives up; `bad` fails the batch that it is in."""
    batches: list[list[int]] = []

    def run(batch: Sequence[int]) -> list[int]:
        batches.append(list(batch))
        if bad in batch:
            raise ValueError(bad)
        return [2 * item for item in batch]

    async def all_of_them() -> None:
        batcher: Batcher[int, int] = Batcher(run, name="test", max_batch=max_batch, capacity=64)
        tasks = [asyncio.create_task(ask(batcher, number)) for number, _ in items]
        await asyncio.sleep(0)
        for task, (_, gives_up) in zip(tasks, items, strict=True):
            if gives_up:
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for (number, gives_up), result in zip(items, results, strict=True):
            if isinstance(result, BatchResult):
                assert result.result == 2 * number
                assert 1 <= result.batch_size <= max_batch
            elif isinstance(result, BatchFailed):
                assert any(bad in batch and number in batch for batch in batches)
            else:
                assert isinstance(result, asyncio.CancelledError)
                assert gives_up
        assert batcher.depth == 0
        await asyncio.to_thread(batcher.close)

    asyncio.run(all_of_them())
    assert all(len(batch) <= max_batch for batch in batches)
    ran = [number for batch in batches for number in batch]
    assert len(ran) <= len(items)
    assert all(ran.count(number) <= [each for each, _ in items].count(number) for number in ran)


@settings(max_examples=40, deadline=None)
@given(
    fates=st.lists(st.sampled_from(["made", "fails", "is given up", "is never made"]), max_size=24),
    shares_cores=st.booleans(),
)
def test_whatever_becomes_of_items_in_the_making_nobody_is_left_waiting(fates: list[str], shares_cores: bool) -> None:
    async def all_of_them() -> None:
        batcher: Batcher[int, int] = Batcher(
            lambda items: [2 * item for item in items],
            name="test",
            max_batch=4,
            capacity=64,
            shares_cores=shares_cores,
            sizes=[1, 2, 4],
        )
        with batcher.reserve(len(fates)) as place, ThreadPoolExecutor(3) as makers:
            asked = [batcher.submit(place) for _ in fates]
            tasks = [asyncio.create_task(batcher.result(each)) for each in asked]
            await asyncio.sleep(0)
            for number, (fate, each) in enumerate(zip(fates, asked, strict=True)):
                if fate == "fails":
                    makers.submit(batcher.fail, each, ZeroDivisionError())
                elif fate != "is never made":
                    makers.submit(batcher.enqueue, each, number)
                if fate == "is given up":
                    tasks[number].cancel()
            settled = [task for task, fate in zip(tasks, fates, strict=True) if fate != "is never made"]
            await asyncio.wait_for(asyncio.gather(*settled, return_exceptions=True), 60)
            await asyncio.to_thread(batcher.close)
            results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for number, (fate, result) in enumerate(zip(fates, results, strict=True)):
            if fate == "made":
                assert isinstance(result, BatchResult)
                assert result.result == 2 * number
                assert 1 <= result.batch_size <= 4
            else:
                expected = {
                    "fails": ZeroDivisionError,
                    "is given up": asyncio.CancelledError,
                    "is never made": BatcherClosed,
                }[fate]
                assert isinstance(result, expected)
        assert batcher.depth == 0

    asyncio.run(all_of_them())
