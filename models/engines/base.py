"""Interfaces of inference engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.arrays import Pixels

Outputs = Mapping[str, npt.NDArray[np.float32]]
"""Output name -> float32 [n, width]."""
ReadFile = Callable[[str], bytes]
"""Name of an extractor's file -> its contents, with the digest verified."""


class Runner(Protocol):
    """Runs batches of one extractor."""

    @property
    def name(self) -> str:
        """`engine:precision`, as in manifests."""

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width]."""


class Engine(Runner, Protocol):
    """A runner, with the properties that batching depends on."""

    @property
    def max_concurrent_runs(self) -> int:
        """Number of concurrent callers with the highest throughput; more are allowed."""

    @property
    def shares_cores(self) -> bool:
        """True if it runs on the CPU cores that also decode images."""

    @property
    def concurrent(self) -> Runner:
        """Runner for up to `max_concurrent_runs` concurrent batches, each on a share of the cores."""

    def preferred_batch_sizes(self, max_batch: int) -> Sequence[int]:
        """Return the batch sizes that run without padding after `warmup`, ascending from 1 to `max_batch`."""

    def warmup(self, max_batch: int) -> None:
        """Run batches of sizes up to `max_batch`, so that later ones do not wait for allocation or compilation."""
