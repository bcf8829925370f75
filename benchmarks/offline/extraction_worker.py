"""The measurements of `benchmarks.offline.extraction`, each run in a new process.

python -m benchmarks.offline.extraction_worker network STORE MODEL ROOT
python -m benchmarks.offline.extraction_worker extraction STORE MODEL ROOT CACHE
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness.component_costs import find_best_batch, measure_cost
from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import Store, parse_name
from models.console.tensorflow_logs import hide_startup_messages
from models.cpu import available_cores
from models.offline.loader import Readable, prepare_each
from training.data.dataset import images_by_class, load_dataset
from training.heads import features
from training.recipes.data import DatasetSpec

_SAMPLE_IMAGES = 256
_STATUS = Path("/proc/self/status")


class NetworkResult(NamedTuple):
    """The network alone, and decoding alone.

    Attributes:
        engine: `engine:precision`.
        batch_size: at which the network is fastest, one batch at a time on all cores.
        rate: images per second with it.
        per_core_batch_size: at which the network is fastest with one batch on each core.
        per_core_rate: images per second with it.
        network_cpu_s: CPU seconds per image of the network, the lower of both ways.
        decode_cpu_s: CPU seconds per image for reading and preprocessing.
    """

    engine: str
    batch_size: int
    rate: float
    per_core_batch_size: int
    per_core_rate: float
    network_cpu_s: float
    decode_cpu_s: float

    @property
    def bound(self) -> float:
        """Images per second that the cores could do if there were no other costs."""
        return available_cores() / (self.network_cpu_s + self.decode_cpu_s)


class ExtractionResult(NamedTuple):
    """One extraction into an empty cache.

    Attributes:
        images: number of images.
        load_s: seconds for listing and hashing the images.
        extract_s: seconds from then until the last features are on disk.
        cpu_s: CPU seconds of all cores during `extract_s`.
        peak_mb: peak resident memory of the process.
    """

    images: int
    load_s: float
    extract_s: float
    cpu_s: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.extract_s


def measure_network(store: Store, model: str, root: Path) -> NetworkResult:
    """Measure the network of a classifier on preprocessed images of a dataset, and the preprocessing."""
    artifact = store.classifier(*parse_name(model))
    spec, extractor = artifact.manifest.preprocess, store.extractor_of(artifact)
    files = [file for class_files in images_by_class(root / "train").values() for file in class_files]
    sample = files[:: max(1, len(files) // _SAMPLE_IMAGES)]

    def prepare(images: Sequence[Readable]) -> Pixels:
        return np.stack([pixels for _, pixels in prepare_each(enumerate(images), spec, _raise_unreadable)])

    with hide_startup_messages():
        engine = catalog.load_extractor(extractor).engine
    pixels, decode_cost = prepare(sample), measure_cost(prepare, sample)
    batch_size, cost = find_best_batch(engine.run, pixels)
    runs = engine.max_concurrent_runs
    with ThreadPoolExecutor(runs) as threads:
        runner = engine.concurrent
        per_core_batch_size, concurrent_cost = find_best_batch(
            lambda batch: list(threads.map(runner.run, [batch] * runs)), pixels
        )
    return NetworkResult(
        engine=engine.name,
        batch_size=batch_size,
        rate=1 / cost.wall_s,
        per_core_batch_size=per_core_batch_size,
        per_core_rate=runs / concurrent_cost.wall_s,
        network_cpu_s=min(cost.cpu_s, concurrent_cost.cpu_s / runs),
        decode_cpu_s=decode_cost.cpu_s,
    )


def measure_extraction(store: Store, model: str, root: Path, cache: Path) -> ExtractionResult:
    """Extract the features of ROOT/train with the preprocessing of a classifier.

    Raises:
        RuntimeError: the features of some images are missing.
    """
    artifact = store.classifier(*parse_name(model))
    manifest = artifact.manifest
    with hide_startup_messages():
        extractor = catalog.load_extractor(store.extractor_of(artifact))
    start = time.perf_counter()
    images = load_dataset(DatasetSpec(path="", test=None), root).train
    loaded, loaded_cpu = time.perf_counter(), time.process_time()
    features.fill_cache(images, extractor, manifest.extractor.output, manifest.preprocess, cache)
    extract_s, cpu_s = time.perf_counter() - loaded, time.process_time() - loaded_cpu
    (rows,) = cache.rglob("rows.float32")
    width = extractor.manifest.outputs[manifest.extractor.output]
    if rows.stat().st_size != 4 * width * len(set(images.digests)):
        raise RuntimeError(f"{rows.stat().st_size:,} bytes of features were written for {len(images):,} images.")
    return ExtractionResult(len(images), loaded - start, extract_s, cpu_s, _peak_mb())


def _raise_unreadable(number: int, reason: str) -> None:
    raise RuntimeError(f"Image {number}: {reason}")


def _peak_mb() -> float:
    """Return the peak resident memory of this process; `getrusage` would include that of its parent."""
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def _main(task: str, store_folder: str, model: str, root: str, *cache: str) -> None:
    store = Store(Path(store_folder))
    if task == "network":
        print(json.dumps(measure_network(store, model, Path(root))))
    else:
        print(json.dumps(measure_extraction(store, model, Path(root), *map(Path, cache))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
