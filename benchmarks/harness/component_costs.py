"""Costs of one image without a server: of decoding, of the engine and of the head, measured separately.

They give an upper bound for the throughput of any server on this machine: cores / CPU seconds per image.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import Store
from models.classifier import Classifier
from models.console.tensorflow_logs import hide_startup_messages
from models.cpu import available_cores
from models.preprocess import prepare

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = 0.7  # for each cost
_MIN_RUNS = 2


@dataclass(frozen=True)
class Cost:
    """Seconds per image: elapsed, and CPU time of all cores together."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class ComponentCosts:
    """Costs of one image.

    Attributes:
        engine_name: `engine:precision`.
        batch_size: at which the engine is fastest; `engine` and `head` are measured with it.
        decode: cost of decoding.
        engine: cost of the network.
        head: cost of the head.
        separate_s: elapsed seconds for decoding, engine and head of a single image, each repeated by itself.
        sequential_s: elapsed seconds for a single image when the three run one after another, as for a client that
            waits; the caches of the processor then hold the data of the previous step.
    """

    engine_name: str
    batch_size: int
    decode: Cost
    engine: Cost
    head: Cost
    separate_s: float
    sequential_s: float

    @property
    def bound(self) -> float:
        """Images per second that the cores could serve if there were no other costs."""
        return available_cores() / (self.decode.cpu_s + self.engine.cpu_s + self.head.cpu_s)


def measure_components(store: Path, model: str, images: Sequence[bytes]) -> ComponentCosts:
    """Measure the costs in a new process, because libraries set up their threads only once per process."""
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(images):
            (Path(folder) / f"{number:04}").write_bytes(data)
        command = [sys.executable, "-m", "benchmarks.harness.component_costs", str(store.resolve()), model, folder]
        costs = json.loads(subprocess.check_output(command, text=True))
    return ComponentCosts(**{**costs, **{name: Cost(**costs[name]) for name in ("decode", "engine", "head")}})


def find_best_batch(
    run: Callable[[Pixels], object],
    pixels: Pixels,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seconds: float = _SECONDS,
) -> tuple[int, Cost]:
    """Find the batch size at which a network is fastest.

    Args:
        run: Run the network on a batch.
        pixels: uint8 [at least one, size, size, 3]; repeated where a batch needs more.
        batch_sizes: to try.
        seconds: duration of the measurement for each size.

    Returns:
        The batch size, and the cost of one image with it.
    """
    costs = {size: measure_cost(run, _repeat_rows(pixels, size), seconds) for size in batch_sizes}
    best_size = min(costs, key=lambda size: costs[size].wall_s)
    return best_size, costs[best_size]


def measure_cost(run: Callable[..., object], batch: Sequence[Any] | np.ndarray, seconds: float = _SECONDS) -> Cost:
    """Measure `run(batch)` repeatedly after a warm-up; return the median elapsed and the mean CPU time per item."""
    run(batch)
    elapsed: list[float] = []
    start, start_cpu = time.perf_counter(), time.process_time()
    while len(elapsed) < _MIN_RUNS or time.perf_counter() - start < seconds:
        run_start = time.perf_counter()
        run(batch)
        elapsed.append(time.perf_counter() - run_start)
    cpu_s = (time.process_time() - start_cpu) / len(elapsed)
    return Cost(statistics.median(elapsed) / len(batch), cpu_s / len(batch))


def _measure(classifier: Classifier, images: Sequence[bytes]) -> ComponentCosts:
    engine, spec = classifier.extractor.engine, classifier.spec
    pixels = np.stack([prepare(data, [spec])[spec] for data in images])
    decode_cost = measure_cost(lambda batch: [prepare(data, [spec]) for data in batch], images)
    batch_size, engine_cost = find_best_batch(engine.run, pixels)
    batch = _repeat_rows(pixels, batch_size)
    features = np.asarray(engine.run(batch)[classifier.output])
    head_cost = measure_cost(classifier.consume, features)
    single_engine, single_head = measure_cost(engine.run, batch[:1]), measure_cost(classifier.consume, features[:1])
    separate_s = decode_cost.wall_s + single_engine.wall_s + single_head.wall_s
    sequential = measure_cost(lambda batch: [_classify(classifier, data) for data in batch], images)
    return ComponentCosts(engine.name, batch_size, decode_cost, engine_cost, head_cost, separate_s, sequential.wall_s)


def _classify(classifier: Classifier, data: bytes) -> object:
    pixels = prepare(data, [classifier.spec])[classifier.spec]
    return classifier.consume(np.asarray(classifier.extractor.engine.run(pixels[None])[classifier.output]))


def _repeat_rows(pixels: Pixels, size: int) -> Pixels:
    return pixels[np.arange(size) % len(pixels)]


def _main(store: str, model: str, folder: str) -> None:
    with hide_startup_messages():
        classifier = catalog.load(Store(Path(store)), [model]).classifiers[0]
    images = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
    print(json.dumps(asdict(_measure(classifier, images))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
