"""Which sizes of batches run well, and how long they take, alone on all cores or beside others on a share of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.batching.estimators import BatchLatencyModel


class BatchPolicy:
    """Of one network; learns from the batches that ran."""

    def __init__(
        self,
        max_batch: int,
        *,
        max_run_s: float = math.inf,
        workers: int = 1,
        preferred_batch_sizes: Sequence[int] = (),
    ) -> None:
        """Know nothing of how long they take.

        Args:
            max_batch: items of one batch at most.
            max_run_s: how long a batch may take, if it has more than one item.
            lanes: batches that may run beside each other, each on its share of the cores.
            well: sizes that take no longer than they must, 1 among them; none means all.
        """
        self._preferred_batch_sizes = [
            size for size in reversed(preferred_batch_sizes or range(1, max_batch + 1)) if size <= max_batch
        ]
        self._max_batch, self._max_run_s, self._workers = max_batch, max_run_s, workers
        self._exclusive, self._concurrent = BatchLatencyModel(), BatchLatencyModel()
        self.target_size = max_batch
        """From how many items on a batch is as large as it may be."""

    def largest_size(self, most: int, within_s: float = math.inf, *, concurrent: bool) -> int:
        """The largest size up to `most` that runs well and takes no longer; 0 where there is none."""
        sizes = (size for size in self._preferred_batch_sizes if size <= most)
        return next((size for size in sizes if self.seconds(size, concurrent=concurrent) <= within_s), 0)

    def observe(self, size: int, seconds: float, *, concurrent: bool) -> None:
        """Take in a batch that ran."""
        (self._concurrent if concurrent else self._exclusive).observe(size, seconds)
        self.target_size = self.largest_size(self._max_batch, self._max_run_s, concurrent=self._workers > 1) or 1

    def seconds(self, size: int, *, concurrent: bool) -> float:
        """How long a batch is expected to take; by the lanes, where none has run in this way."""
        if concurrent:
            return (
                self._concurrent.predict_s(size)
                if self._concurrent.is_known
                else self._workers * self._exclusive.predict_s(size)
            )
        return (
            self._exclusive.predict_s(size)
            if self._exclusive.is_known
            else self._concurrent.predict_s(size) / self._workers
        )
