"""The engine that serves beside Keras's `predict_on_batch`, each in the batches that it is fastest with.

Each measurement runs in a process of its own: two libraries in one would wait for each other's threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.component_costs import best_batch
from benchmarks.harness.report import Measurement, Way, compare
from models.artifacts import catalog, golden
from models.artifacts.store import Store, parse_name
from models.console.tensorflow_logs import hide_startup_messages

TARGET = 3.5  # for int8 at 299 px, on a processor with VNNI
_IMAGES = 16


def measure(store: Path, model: str, rounds: int) -> Measurement:
    """Compare both on the extractor of a classifier.

    Args:
        store: of the artifacts.
        model: `name` or `name@version`.
        rounds: in each both are measured once.
    """
    names = {way: _run(way, store, model)[0] for way in ("engine", "keras")}  # warms the disk's cache, too

    def way(way: str) -> Way:
        return Way(names[way], lambda: _run(way, store, model)[1])

    return compare(f"The network of {model} alone", way("engine"), way("keras"), rounds, TARGET, {})


def _run(way: str, store: Path, model: str) -> tuple[str, float]:
    command = [sys.executable, "-m", "benchmarks.offline.engine", way, str(store.resolve()), model]
    name, rate = json.loads(subprocess.check_output(command, text=True))
    return str(name), float(rate)


def _main(way: str, store: str, model: str) -> None:
    artifacts = Store(Path(store))
    below = artifacts.extractor_of(artifacts.classifier(*parse_name(model)))
    pixels = golden.synthetic_images(below.manifest.input_size, _IMAGES)
    with hide_startup_messages():
        if way == "engine":
            engine = catalog.load_extractor(below).engine
            name, run = engine.name, engine.run
        else:
            from benchmarks.harness.keras_model import build

            name, run = "keras predict_on_batch", build(below).predict_on_batch
    _, cost = best_batch(run, pixels)
    print(json.dumps([name, 1 / cost.wall_s]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
