"""What `benchmarks.offline.extraction` measures, each in a process of its own.

python -m benchmarks.offline.extraction_worker bare STORE MODEL ROOT
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

from benchmarks.harness.component_costs import best_batch, cost_of
from models.arrays import Pixels
from models.artifacts import catalog
from models.artifacts.store import Store, parse_name
from models.console.tensorflow_logs import hide_startup_messages
from models.cpu import available_cores
from models.offline.loader import Readable, prepared
from training.data import dataset as datasets
from training.heads import features
from training.recipes.schema import Data

_COSTED = 256
_STATUS = Path("/proc/self/status")


class Bare(NamedTuple):
    """The network alone, and decoding alone."""

    name: str
    batch: int
    """At which the network is fastest, one batch at a time on all cores."""
    rate: float
    spread_batch: int
    spread_rate: float
    """Images a second, a batch on each core."""
    network_s: float
    """Of a processor, for an image, the cheaper of both ways."""
    decode_s: float
    """The same, for reading and preparing an image."""

    @property
    def bound(self) -> float:
        """Images a second that the cores could do if nothing else cost anything."""
        return available_cores() / (self.network_s + self.decode_s)


class Extraction(NamedTuple):
    """One extraction into a fresh cache."""

    images: int
    found_s: float
    """For finding the images and the digest of each, before the first is decoded."""
    extracted_s: float
    """From then until the last row is on disk; the start of Python and of the network is not counted."""
    processor_s: float
    """Of all cores, meanwhile."""
    peak_mb: float
    """Resident at most, from the start of the process on."""

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.extracted_s


def bare(store: Store, model: str, root: Path) -> Bare:
    """The network of a classifier on pictures of a dataset that are prepared already, and preparing them."""
    artifact = store.classifier(*parse_name(model))
    spec, below = artifact.manifest.preprocess, store.extractor_of(artifact)
    files = [file for there in datasets.class_folders(root / "train").values() for file in there]
    some = files[:: max(1, len(files) // _COSTED)]

    def prepare(images: Sequence[Readable]) -> Pixels:
        return np.stack([pixels for _, pixels in prepared(enumerate(images), spec, _unreadable)])

    with hide_startup_messages():
        engine = catalog.load_extractor(below).engine
    pixels, decode = prepare(some), cost_of(prepare, some)
    batch, on_all = best_batch(engine.run, pixels)
    with ThreadPoolExecutor(engine.max_concurrent_runs) as lanes:
        beside = engine.concurrent
        spread_batch, on_each = best_batch(
            lambda rows: list(lanes.map(beside.run, [rows] * engine.max_concurrent_runs)), pixels
        )
    network_s = min(on_all.cpu_s, on_each.cpu_s / engine.max_concurrent_runs)
    return Bare(
        engine.name,
        batch,
        1 / on_all.wall_s,
        spread_batch,
        engine.max_concurrent_runs / on_each.wall_s,
        network_s,
        decode.cpu_s,
    )


def extraction(store: Store, model: str, root: Path, cache: Path) -> Extraction:
    """The features of ROOT/train, as a classifier reads them.

    Raises:
        RuntimeError: not every image has its row.
    """
    artifact = store.classifier(*parse_name(model))
    manifest = artifact.manifest
    with hide_startup_messages():
        extractor = catalog.load_extractor(store.extractor_of(artifact))
    began = time.perf_counter()
    images = datasets.load(Data(path="", test=None), root).train
    found, processor = time.perf_counter(), time.process_time()
    features.fill(images, extractor, manifest.extractor.output, manifest.preprocess, cache)
    extracted_s, processor_s = time.perf_counter() - found, time.process_time() - processor
    (rows,) = cache.rglob("rows.float32")
    if rows.stat().st_size != 4 * extractor.manifest.outputs[manifest.extractor.output] * len(set(images.digests)):
        raise RuntimeError(f"{rows.stat().st_size:,} bytes of features were written for {len(images):,} images.")
    return Extraction(len(images), found - began, extracted_s, processor_s, _peak_mb())


def _unreadable(number: int, why: str) -> None:
    raise RuntimeError(f"Picture {number}: {why}")


def _peak_mb() -> float:
    """As the kernel keeps it for this program; `getrusage` would count what started it, too."""
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6


def _main(what: str, store: str, model: str, root: str, *cache: str) -> None:
    given = (Store(Path(store)), model, Path(root))
    print(json.dumps(bare(*given) if what == "bare" else extraction(*given, *map(Path, cache))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
