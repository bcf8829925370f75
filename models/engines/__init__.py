"""An extractor compiled for a device, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.image import Pixels

Outputs = Mapping[str, npt.NDArray[np.float32]]
Read = Callable[[str], bytes]
"""A file of the extractor by its name -> its bytes, which are the ones that the manifest names."""


class Engine(Protocol):
    """Runs batches of one extractor."""

    @property
    def name(self) -> str:
        """`engine:precision`, as manifests name it."""

    @property
    def lanes(self) -> int:
        """How many callers at a time it is fastest with; more do no harm."""

    def warm(self, max_batch: int) -> None:
        """Do now what the first batch of any size up to `max_batch` would otherwise wait for."""

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width]."""
