"""What a batcher holds, and what it has learned from its batches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchingStatus:
    """The state of one batcher at one time.

    Attributes:
        waiting: items that wait for a batch.
        free: items that may still be reserved.
        capacity: items that may be reserved, waiting or running.
        target_size: items of a full batch.
        pace: duration of recent batches as a multiple of the usual one.
        concurrency: duration of a batch beside others, as a multiple of its duration on all cores.
        single_s: expected seconds of a batch of one item.
        full_s: expected seconds of a full batch.
        margin_s: seconds added to an estimate that a deadline depends on.
    """

    waiting: int
    free: int
    capacity: int
    target_size: int
    pace: float
    concurrency: float
    single_s: float
    full_s: float
    margin_s: float
