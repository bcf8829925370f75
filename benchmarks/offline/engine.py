"""The serving engine, compared with Keras's `predict_on_batch`, each at its fastest batch size.

Each is measured in its own process, because two libraries in one process compete for threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness.component_costs import find_best_batch
from benchmarks.harness.report import Measurement, Variant, compare
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.workload import make_workload
from benchmarks.options import DEFAULT_CACHE, CacheOption, ImageSize, InputSize, NetworkOption, RoundsOption
from models.artifacts import catalog, golden
from models.artifacts.store import Store, parse_name
from models.console.tensorflow_logs import hide_startup_messages

MIN_RATIO = 3.5  # for int8 at 299 px, on a processor with VNNI
_IMAGES = 16


def run(
    network: NetworkOption = InputSize.LARGE, rounds: RoundsOption = 3, cache: CacheOption = DEFAULT_CACHE
) -> Measurement:
    """The serving engine, compared with Keras's predict_on_batch, each at its fastest batch size."""
    workload = make_workload(network, ImageSize.WEB, cache)
    return measure(workload.store, workload.model, rounds)


SCENARIO = Scenario("engine", run)


def measure(store: Path, model: str, rounds: int) -> Measurement:
    """Compare both on the extractor of a classifier.

    Args:
        store: folder of the model store.
        model: `name` or `name@version` of the classifier.
        rounds: number of rounds; in each both are measured once.
    """

    def variant(library: str) -> Variant:
        name, _ = _run_worker(library, store, model)  # also warms up the disk cache
        return Variant(name, lambda: _run_worker(library, store, model)[1])

    title = f"The network of {model} without a server"
    return compare(title, variant("engine"), variant("keras"), rounds, MIN_RATIO, {})


def _run_worker(library: str, store: Path, model: str) -> tuple[str, float]:
    """Return the name of the engine and its images per second."""
    command = [sys.executable, "-m", "benchmarks.offline.engine", library, str(store.resolve()), model]
    name, rate = json.loads(subprocess.check_output(command, text=True))
    return str(name), float(rate)


def _main(library: str, store_folder: str, model: str) -> None:
    store = Store(Path(store_folder))
    extractor = store.extractor_of(store.classifier(*parse_name(model)))
    pixels = golden.synthetic_images(extractor.manifest.input_size, _IMAGES)
    with hide_startup_messages():
        if library == "engine":
            engine = catalog.load_extractor(extractor).engine
            name, run_batch = engine.name, engine.run
        else:
            from benchmarks.harness.keras_model import build_keras_model

            name, run_batch = "keras predict_on_batch", build_keras_model(extractor).predict_on_batch
    _, cost = find_best_batch(run_batch, pixels)
    print(json.dumps([name, 1 / cost.wall_s]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
