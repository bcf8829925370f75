"""Which sizes of batches run well, and how long they take, alone on all cores or beside others on a share of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.batching.estimators import Pace


class Sizes:
    """Of one network; learns from the batches that ran."""

    def __init__(
        self, max_batch: int, *, max_run_s: float = math.inf, lanes: int = 1, well: Sequence[int] = ()
    ) -> None:
        """Know nothing of how long they take.

        Args:
            max_batch: items of one batch at most.
            max_run_s: how long a batch may take, if it has more than one item.
            lanes: batches that may run beside each other, each on its share of the cores.
            well: sizes that take no longer than they must, 1 among them; none means all.
        """
        self._well = [size for size in reversed(well or range(1, max_batch + 1)) if size <= max_batch]
        self._max_batch, self._max_run_s, self._lanes = max_batch, max_run_s, lanes
        self._alone, self._beside = Pace(), Pace()
        self.full = max_batch
        """From how many items on a batch is as large as it may be."""

    def largest(self, most: int, within_s: float = math.inf, *, beside: bool) -> int:
        """The largest size up to `most` that runs well and takes no longer; 0 where there is none."""
        sizes = (size for size in self._well if size <= most)
        return next((size for size in sizes if self.seconds(size, beside=beside) <= within_s), 0)

    def observe(self, size: int, seconds: float, *, beside: bool) -> None:
        """Take in a batch that ran."""
        (self._beside if beside else self._alone).observe(size, seconds)
        self.full = self.largest(self._max_batch, self._max_run_s, beside=self._lanes > 1) or 1

    def seconds(self, size: int, *, beside: bool) -> float:
        """How long a batch is expected to take; by the lanes, where none has run in this way."""
        if beside:
            return self._beside.of(size) if self._beside.is_known else self._lanes * self._alone.of(size)
        return self._alone.of(size) if self._alone.is_known else self._beside.of(size) / self._lanes
