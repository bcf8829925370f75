"""`python -m models classify FOLDER`, compared with the network alone on the same pixels."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.harness.component_costs import find_best_batch
from benchmarks.harness.images import write_jpegs
from benchmarks.harness.report import Measurement, Variant, compare
from benchmarks.harness.scenario import Scenario
from benchmarks.options import ModelOption, RoundsOption, SideOption, StoreOption
from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import DEFAULT_STORE, Store
from models.console.tensorflow_logs import hide_startup_messages
from models.cpu import available_cores
from models.engines.base import Engine
from models.offline.predict import MAX_BATCH_SIZE
from models.preprocess import prepare

MIN_RATIO = 0.9


def run(
    count: Annotated[int, typer.Option(min=MAX_BATCH_SIZE + 1, help="Number of images in the folder.")] = 5000,
    rounds: RoundsOption = 3,
    side: SideOption = 256,
    model: ModelOption = "cifar10",
    store: StoreOption = DEFAULT_STORE,
) -> Measurement:
    """`python -m models classify` on a folder of JPEG files, compared with the network alone on the same pixels."""
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder), count, side)
        return measure(Path(folder), store.resolve(), model, rounds)


SCENARIO = Scenario("folder", run)


def measure(folder: Path, store: Path, model: str, rounds: int) -> Measurement:
    """Compare both on a folder of images.

    Args:
        folder: more images than one batch of the command holds; the first batch is not timed.
        store: folder of the model store.
        model: `name` or `name@version` of a classifier.
        rounds: number of rounds; in each both ways are measured once.
    """
    with hide_startup_messages():
        classifier = catalog.load(Store(store), [model]).classifiers[0]
    engine, spec, files = classifier.extractor.engine, classifier.spec, sorted(folder.iterdir())
    with ThreadPoolExecutor(available_cores()) as threads:
        pixels = np.stack(list(threads.map(lambda file: prepare(file.read_bytes(), [spec])[spec], files)))
    batch_size, _ = find_best_batch(engine.run, pixels)
    startup_seconds: list[float] = []

    def measure_command() -> float:
        startup_s, rate = run_command(folder, len(files), store, model)
        startup_seconds.append(startup_s)
        return rate

    measurement = compare(
        f"{len(files):,} images in a folder",
        Variant(f"models classify --model {classifier.label}", measure_command),
        Variant(f"{engine.name} alone, batch size {batch_size}", lambda: engine_rate(engine, pixels, batch_size)),
        rounds,
        MIN_RATIO,
        {"image": f"{sum(file.stat().st_size for file in files) / len(files) / 1000:.1f} kB"},
    )
    measurement.facts["start of the command until its first batch"] = (
        f"{statistics.median(startup_seconds):.1f} s, not included"
    )
    return measurement


def run_command(folder: Path, count: int, store: Path, model: str) -> tuple[float, float]:
    """Run the command on `count` images.

    Returns:
        Seconds until its first batch was classified, and images per second from then on.

    Raises:
        RuntimeError: it failed or did not classify every image.
    """
    arguments = ["classify", str(folder), "--model", model, "--store", str(store), "--json"]
    command = [sys.executable, "-u", "-m", "models", *arguments]  # -u: each line arrives when it is written
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first_batch, end = _read_results(process.stdout, count)
    if process.returncode:
        raise RuntimeError(f"The command failed with exit code {process.returncode}.")
    return first_batch - start, (count - MAX_BATCH_SIZE) / (end - first_batch)


def engine_rate(engine: Engine, pixels: Pixels, batch_size: int) -> float:
    """Return images per second of the network alone."""
    start = time.perf_counter()
    for first in range(0, len(pixels), batch_size):
        engine.run(pixels[first : first + batch_size])
    return len(pixels) / (time.perf_counter() - start)


def _read_results(lines: Iterable[bytes], count: int) -> tuple[float, float]:
    """Check the results; return the times at which the first batch and all images were complete."""
    times: list[float] = []
    for line in lines:
        times.append(time.perf_counter())
        if not json.loads(line)["predictions"]:
            raise RuntimeError(f"The result has no prediction: {line!r}")
    if len(times) != count:
        raise RuntimeError(f"{len(times)} of {count} images were classified.")
    return times[MAX_BATCH_SIZE - 1], times[-1]
