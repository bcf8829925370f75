"""A network fitted with each batch in one part, beside the same batch in several parts.

How a process spreads its work over threads is decided once, so each measurement runs in one of its own.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from benchmarks.harness.report import Measurement, Way, compare
from training.recipes import schema as recipes
from training.recipes.schema import Network
from training.runtime.tensorflow import enable_onednn, fastest_precision

RECIPE = "extractor_offline"
TARGET = 1.2
_WARM_UP = 3


def measure(parts: int, size: int, steps: int, rounds: int) -> Measurement:
    """Compare both on the shipped recipe's network and batch, with random weights and images.

    Args:
        parts: of each batch.
        size: side of the images, px.
        steps: in each round.
        rounds: in each both ways are measured once.

    Raises:
        ValueError: the recipe's batch does not come out in so many parts.
    """
    _network(parts)  # refuses what no batch comes out in

    def way(parts: int) -> Way:
        arguments = [sys.executable, "-m", "benchmarks.offline.fit", str(parts), str(size), str(steps)]
        return Way(f"parts = {parts}", lambda: float(subprocess.check_output(arguments, text=True)))

    title = f"Fitting {RECIPE} at {size} px, {steps} steps in each round"
    return compare(title, way(parts), way(1), rounds, TARGET, {})


def rate(parts: int, size: int, steps: int) -> float:
    """Images a second; to be called once in a process."""
    enable_onednn()
    from training.network.batches import Batch
    from training.network.trainer import Trainer

    network = _network(parts)
    assert network.fit is not None
    tops = {task.top: len(task.classes) for task in network.tasks}
    random = np.random.default_rng(0)
    labels = tuple(random.integers(0, tops[task.top], task.batch) for task in network.tasks)
    images = sum(task.batch for task in network.tasks)
    batch = Batch(random.integers(0, 256, (images, size, size, 3), dtype=np.uint8), labels)
    with fastest_precision():
        learner = Trainer(network, network.fit, tops, 0, None, steps + _WARM_UP)
        for _ in range(_WARM_UP):
            learner.fit(batch)
        began = time.perf_counter()
        for _ in range(steps):
            learner.fit(batch)
        return steps * images / (time.perf_counter() - began)


def _network(parts: int) -> Network:
    network = recipes.load(RECIPE).network
    assert network is not None
    assert network.fit is not None
    return Network.model_validate({**network.model_dump(), "fit": {**network.fit.model_dump(), "parts": parts}})


if __name__ == "__main__":
    print(rate(*map(int, sys.argv[1:])))
