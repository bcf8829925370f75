"""An extractor compiled for a device, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.arrays import Pixels

Outputs = Mapping[str, npt.NDArray[np.float32]]
ReadFile = Callable[[str], bytes]
"""A file of the extractor by its name -> its bytes, which are the ones that the manifest names."""


class Runner(Protocol):
    """Whatever runs batches of one extractor."""

    @property
    def name(self) -> str:
        """`engine:precision`, as manifests name it."""

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width]."""


class Engine(Runner, Protocol):
    """The same, and what a server has to know of it."""

    @property
    def max_concurrent_runs(self) -> int:
        """How many callers at a time it is fastest with; more do no harm."""

    @property
    def shares_cores(self) -> bool:
        """Whether it computes on the cores that decode images."""

    @property
    def concurrent(self) -> Runner:
        """The same for batches that run beside each other, one in each lane: on its share of the cores."""

    def preferred_batch_sizes(self, max_batch: int) -> Sequence[int]:
        """The sizes of batches, ascending from 1 to `max_batch`, that take no longer than they must, after `warm`."""

    def warmup(self, max_batch: int) -> None:
        """Do now what the first batch of each size, up to `max_batch`, would otherwise wait for."""
