"""Running single items through a batcher."""

from __future__ import annotations

from app.batching.batcher import Batcher
from app.batching.request import BatchResult


async def run_item(batcher: Batcher[int, int], item: int, deadline: float | None = None) -> BatchResult[int]:
    """Reserve capacity for one item, enqueue it and wait for its result."""
    with batcher.reserve(1, deadline) as reservation:
        (pending,) = reservation.pending
        pending.enqueue(item)
        return await pending.result()
