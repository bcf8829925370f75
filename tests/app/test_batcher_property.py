from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from app.asked import Outcome
from app.batcher import Batcher
from app.errors import BatchFailed
from tests.app.test_batcher import ask


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
        batcher: Batcher[int, int] = Batcher(run, name="test", max_batch=max_batch, places=64)
        tasks = [asyncio.create_task(ask(batcher, number)) for number, _ in items]
        await asyncio.sleep(0)
        for task, (_, gives_up) in zip(tasks, items, strict=True):
            if gives_up:
                task.cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        for (number, gives_up), result in zip(items, results, strict=True):
            if isinstance(result, Outcome):
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
