"""Fitting a network with each batch split into parts that run concurrently, compared with undivided batches.

Each is measured in its own process, because TensorFlow sets up its threads only once per process.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Annotated

import numpy as np
import typer

from benchmarks.harness.report import Measurement, Variant, compare
from benchmarks.harness.scenario import Scenario
from benchmarks.options import RoundsOption
from training.recipes.load import load_recipe
from training.recipes.network import Network
from training.runtime.tensorflow import enable_onednn, fastest_precision

RECIPE = "extractor_offline"
MIN_RATIO = 1.2
_WARM_UP_STEPS = 3


def run(
    parts: Annotated[int, typer.Option(min=2, help="Parts of each batch; best is the number of cores.")] = 2,
    size: Annotated[int, typer.Option(min=75, help="Width and height of the images in pixels.")] = 80,
    steps: Annotated[int, typer.Option(min=1, help="Steps of 128 images in each round.")] = 10,
    rounds: RoundsOption = 3,
) -> Measurement:
    """Fitting the shipped network: data-parallel within a batch versus whole batches."""
    try:
        return measure(parts, size, steps, rounds)
    except ValueError as error:
        raise typer.BadParameter(f"the recipe's batch size is not a multiple of {parts} parts") from error


SCENARIO = Scenario("fit", run)


def measure(parts: int, size: int, steps: int, rounds: int) -> Measurement:
    """Compare both on the shipped recipe's network and batch size, with random weights and images.

    Args:
        parts: of each batch.
        size: width and height of the images in pixels.
        steps: in each round.
        rounds: number of rounds; in each both ways are measured once.

    Raises:
        ValueError: the recipe's batch size is not a multiple of `parts`.
    """
    _recipe_network(parts)  # raises the ValueError before anything is measured

    def variant(parts: int) -> Variant:
        command = [sys.executable, "-m", "benchmarks.offline.fit", str(parts), str(size), str(steps)]
        return Variant(f"parts = {parts}", lambda: float(subprocess.check_output(command, text=True)))

    title = f"Fitting {RECIPE} at {size} px, {steps} steps in each round"
    return compare(title, variant(parts), variant(1), rounds, MIN_RATIO, {})


def measure_rate(parts: int, size: int, steps: int) -> float:
    """Return images per second; call it only once per process."""
    enable_onednn()
    from training.network.images.batches import TrainingBatch
    from training.network.trainer import Trainer

    network = _recipe_network(parts)
    assert network.fit is not None
    class_counts = {task.top: len(task.classes) for task in network.tasks}
    rng = np.random.default_rng(0)
    labels = tuple(rng.integers(0, class_counts[task.top], task.batch) for task in network.tasks)
    batch_size = sum(task.batch for task in network.tasks)
    batch = TrainingBatch(rng.integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8), labels)
    with fastest_precision():
        trainer = Trainer(network, network.fit, class_counts, 0, None, steps + _WARM_UP_STEPS)
        for _ in range(_WARM_UP_STEPS):
            trainer.train_step(batch)
        start = time.perf_counter()
        for _ in range(steps):
            trainer.train_step(batch)
        return steps * batch_size / (time.perf_counter() - start)


def _recipe_network(parts: int) -> Network:
    """Return the recipe's network, with each batch split into parts that are computed concurrently."""
    network = load_recipe(RECIPE).network
    assert network is not None
    assert network.fit is not None
    return Network.model_validate({**network.model_dump(), "fit": {**network.fit.model_dump(), "parts": parts}})


if __name__ == "__main__":
    print(measure_rate(*map(int, sys.argv[1:])))
