"""An extractor compiled for a device, behind one small interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.image import Pixels
from models.manifests import ExtractorManifest

Outputs = Mapping[str, npt.NDArray[np.float32]]


class Engine(Protocol):
    """Runs batches of one extractor; one caller at a time."""

    @property
    def name(self) -> str:
        """`engine:precision`, as manifests name it."""

    def run(self, batch: Pixels) -> Outputs:
        """uint8 [n, size, size, 3] -> every output of the extractor, float32 [n, width]."""


def create(manifest: ExtractorManifest, tensors: Mapping[str, npt.NDArray[Any]], threads: int) -> Engine:
    """Compile an extractor for this machine; imports the engine's library only now."""
    from models.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine(manifest, tensors, threads)
