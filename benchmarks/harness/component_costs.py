"""What one image costs without a server: decoding, network and head, each by itself.

From these follows the bound, what no server on this machine can exceed: cores / CPU seconds an image.
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

SIZES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = 0.7
_LEAST_RUNS = 2


@dataclass(frozen=True)
class Cost:
    """Seconds an image, on the clock and of all processors together."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Costs:
    """The costs of one image; `engine` and `head` in the batches that the engine is fastest with.

    On the clock, for one image at a time: `alone_s`, decoding, engine and head, each over and over by itself;
    `in_turn_s`, one after another for each image, as for a client that waits: none finds its caches as it left them.
    """

    engine_name: str
    batch: int
    decode: Cost
    engine: Cost
    head: Cost
    alone_s: float
    in_turn_s: float

    @property
    def bound(self) -> float:
        """Images a second that the machine's cores could answer if nothing else cost anything."""
        return available_cores() / (self.decode.cpu_s + self.engine.cpu_s + self.head.cpu_s)


def measure(store: Path, model: str, pictures: Sequence[bytes]) -> Costs:
    """The costs, measured in a process of its own: how a library spreads its threads is decided once in each."""
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(pictures):
            (Path(folder) / f"{number:04}").write_bytes(data)
        command = [sys.executable, "-m", "benchmarks.harness.component_costs", str(store.resolve()), model, folder]
        found = json.loads(subprocess.check_output(command, text=True))
    return Costs(**{**found, **{name: Cost(**found[name]) for name in ("decode", "engine", "head")}})


def best_batch(
    run: Callable[[Pixels], object], pixels: Pixels, sizes: Sequence[int] = SIZES, seconds: float = _SECONDS
) -> tuple[int, Cost]:
    """The size of batch at which a network is fastest, and what an image costs at it.

    Args:
        run: the network.
        pixels: uint8 [at least one, size, size, 3]; repeated where a batch needs more.
        sizes: that are tried.
        seconds: for each of them.
    """
    costs = {size: cost_of(run, _repeated(pixels, size), seconds) for size in sizes}
    best = min(costs, key=lambda size: costs[size].wall_s)
    return best, costs[best]


def _measure(classifier: Classifier, pictures: Sequence[bytes]) -> Costs:
    engine, spec = classifier.extractor.engine, classifier.spec
    pixels = np.stack([prepare(data, [spec])[spec] for data in pictures])
    decode = cost_of(lambda some: [prepare(data, [spec]) for data in some], pictures)
    size, cost = best_batch(engine.run, pixels)
    batch = _repeated(pixels, size)
    features = np.asarray(engine.run(batch)[classifier.output])
    head = cost_of(classifier.consume, features)
    engine_alone, head_alone = cost_of(engine.run, batch[:1]), cost_of(classifier.consume, features[:1])
    alone_s = decode.wall_s + engine_alone.wall_s + head_alone.wall_s
    in_turn = cost_of(lambda some: [_answer(classifier, data) for data in some], pictures)
    return Costs(engine.name, size, decode, cost, head, alone_s, in_turn.wall_s)


def _answer(classifier: Classifier, data: bytes) -> object:
    pixels = prepare(data, [classifier.spec])[classifier.spec]
    return classifier.consume(np.asarray(classifier.extractor.engine.run(pixels[None])[classifier.output]))


def cost_of(run: Callable[..., object], batch: Sequence[Any] | np.ndarray, seconds: float = _SECONDS) -> Cost:
    """The median run's, after one that warms up."""
    run(batch)
    walls: list[float] = []
    began, cpu = time.perf_counter(), time.process_time()
    while len(walls) < _LEAST_RUNS or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run(batch)
        walls.append(time.perf_counter() - start)
    return Cost(statistics.median(walls) / len(batch), (time.process_time() - cpu) / len(walls) / len(batch))


def _repeated(pixels: Pixels, size: int) -> Pixels:
    return pixels[np.arange(size) % len(pixels)]


def _main(store: str, model: str, folder: str) -> None:
    with hide_startup_messages():
        classifier = catalog.load(Store(Path(store)), [model]).classifiers[0]
    pictures = [file.read_bytes() for file in sorted(Path(folder).iterdir())]
    print(json.dumps(asdict(_measure(classifier, pictures))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
