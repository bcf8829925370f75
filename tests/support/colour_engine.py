"""An engine without a network: it averages colours, and tests can block it, slow it down or let it fail."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from models.arrays import Floats, Pixels
from models.engines.base import Outputs, Runner
from tests.support.colour_images import FOUR_COLOURS

_WARM_UPS = 1
"""Batches that a server runs before it is ready; delays and failures begin after them."""
_TIMEOUT_S = 60
FEATURES = 12
"""Length of a feature vector: the three colour channels of each cell of a 2 x 2 grid."""


@dataclass
class ColourEngine:
    """Features are the mean colours of a 2 x 2 grid.

    Attributes:
        name: engine and precision, as manifests name them.
        unblocked: batches wait while this is cleared.
        batch_started: released when a batch starts.
        batch_sizes: the number of images in each batch so far.
        delay_s: how long each batch takes, after the warm-up.
        fails: every batch after the warm-up raises.
        broken: every batch raises.
    """

    name: str = "fixture:float32"
    unblocked: threading.Event = field(default_factory=threading.Event)
    batch_started: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batch_sizes: list[int] = field(default_factory=list)
    delay_s: float = 0
    fails: bool = False
    broken: bool = False
    max_concurrent_runs: int = 1
    shares_cores: bool = False

    def __post_init__(self) -> None:
        self.unblocked.set()

    def reset(self) -> None:
        """Forget the batches so far, such as those that warmed the engine up."""
        self.batch_sizes.clear()
        while self.batch_started.acquire(blocking=False):
            pass

    @property
    def image_count(self) -> int:
        """Return the number of images in all batches so far."""
        return sum(self.batch_sizes)

    @property
    def concurrent(self) -> Runner:
        return self

    def preferred_batch_sizes(self, max_batch: int) -> range:
        return range(1, max_batch + 1)

    def warmup(self, max_batch: int) -> None:
        pass

    def run(self, batch: Pixels) -> Outputs:
        """Compute `pooled`, float32 [n, FEATURES], and `colour`, float32 [n, 4], of uint8 [n, size, size, 3]."""
        self.batch_sizes.append(len(batch))
        self.batch_started.release()
        assert self.unblocked.wait(_TIMEOUT_S), "a test did not set `unblocked` again"
        is_warm = len(self.batch_sizes) > _WARM_UPS
        if self.broken or (self.fails and is_warm):
            raise ZeroDivisionError("the engine is broken")
        if is_warm and self.delay_s:
            time.sleep(self.delay_s)
        return {"pooled": mean_colours(batch), "colour": colour_probabilities(batch)}


def mean_colours(batch: Pixels) -> Floats:
    """Average the four quarters of each image: uint8 [n, size, size, 3] -> float32 [n, FEATURES] from 0 to 1."""
    half = batch.shape[1] // 2
    grid = batch[:, : 2 * half, : 2 * half].reshape(len(batch), 2, half, 2, half, 3).mean(axis=(2, 4), dtype=np.float32)
    return np.asarray(grid.reshape(len(batch), FEATURES) / np.float32(255))


def colour_probabilities(batch: Pixels) -> Floats:
    """Compare each image with FOUR_COLOURS: uint8 [n, size, size, 3] -> float32 [n, 4], by distance of colour."""
    distances = np.linalg.norm(batch.mean(axis=(1, 2))[:, None] - np.array(list(FOUR_COLOURS.values())), axis=2)
    powers = np.exp(-distances / 50)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
