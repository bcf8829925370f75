"""`python -m models classify FOLDER` beside the bare network on the same pixels: what all the rest costs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.harness.component_costs import best_batch
from benchmarks.harness.report import Measurement, Way, compare
from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import Store
from models.console.tensorflow_logs import hide_startup_messages
from models.cpu import available_cores
from models.engines.base import Engine
from models.offline.predict import BATCH
from models.preprocess import prepare

TARGET = 0.9


def measure(folder: Path, store: Path, model: str, rounds: int) -> Measurement:
    """Compare both on a folder of pictures.

    Args:
        folder: more pictures than one batch of the command holds; the first batch is not counted.
        store: of the artifacts.
        model: `name` or `name@version`.
        rounds: in each both ways are measured once.
    """
    with hide_startup_messages():
        classifier = catalog.load(Store(store), [model]).classifiers[0]
    engine, files = classifier.extractor.engine, sorted(folder.iterdir())
    with ThreadPoolExecutor(available_cores()) as threads:
        pixels = np.stack(
            list(threads.map(lambda file: prepare(file.read_bytes(), [classifier.spec])[classifier.spec], files))
        )
    size, _ = best_batch(engine.run, pixels)
    starts: list[float] = []

    def command() -> float:
        start_s, rate = classify(folder, len(files), store, model)
        starts.append(start_s)
        return rate

    compared = compare(
        f"{len(files):,} pictures in a folder",
        Way(f"models classify --model {classifier.label}", command),
        Way(f"{engine.name} alone, {size} at a time", lambda: speed(engine, pixels, size)),
        rounds,
        TARGET,
        {"a picture": f"{sum(file.stat().st_size for file in files) / len(files) / 1000:.1f} kB"},
    )
    compared.facts["start of the command until its first batch"] = f"{statistics.median(starts):.1f} s, not counted"
    return compared


def classify(folder: Path, count: int, store: Path, model: str) -> tuple[float, float]:
    """Run the command: seconds until its first batch was done, and images a second from then on.

    Raises:
        RuntimeError: it did not classify every picture.
    """
    arguments = ["classify", str(folder), "--model", model, "--store", str(store), "--json"]
    command = [sys.executable, "-u", "-m", "models", *arguments]  # unbuffered, so that each line is seen when it comes
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first, last = _times(process.stdout, count)
    if process.returncode:
        raise RuntimeError(f"The command failed with {process.returncode}.")
    return first - began, (count - BATCH) / (last - first)


def _times(lines: Iterable[bytes], count: int) -> tuple[float, float]:
    """When the last line of the first batch came, and the last of all."""
    times: list[float] = []
    for line in lines:
        times.append(time.perf_counter())
        if not json.loads(line)["predictions"]:
            raise RuntimeError(f"No prediction came: {line!r}")
    if len(times) != count:
        raise RuntimeError(f"{len(times)} of {count} pictures were classified.")
    return times[BATCH - 1], times[-1]


def speed(engine: Engine, pixels: Pixels, size: int) -> float:
    """Images a second of the network alone, in batches of a size."""
    began = time.perf_counter()
    for start in range(0, len(pixels), size):
        engine.run(pixels[start : start + size])
    return len(pixels) / (time.perf_counter() - began)
