"""Feature extraction from class folders and from TFRecord shards, compared with the network alone.

Each measurement runs in its own process and each extraction with an empty cache, so that the peak memory is that of a
single extraction. The network is measured in two ways: one batch at a time on all cores, as the server runs it, and one
batch on each core, as extraction runs it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.harness.images import generate_jpegs
from benchmarks.harness.report import Figure, Measurement, machine_facts
from benchmarks.harness.scenario import Scenario
from benchmarks.offline.extraction_worker import ExtractionResult, NetworkResult
from benchmarks.options import ModelOption, RoundsOption, SideOption, StoreOption
from models.artifacts.store import DEFAULT_STORE
from models.console.tensorflow_logs import hide_startup_messages
from models.offline.predict import MAX_BATCH_SIZE
from training.data.archives import locate_root
from training.data.dataset import images_by_class

MIN_RATIO = 0.9
MAX_PEAK_MB = 2000.0
_SHARDS = 8
_CLASSES = 10


def run(
    data: Annotated[
        Path | None, typer.Option(help="Dataset as a folder or an archive; by default images are generated.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=2 * MAX_BATCH_SIZE, help="Number of images; at most this many of a dataset.")
    ] = 12_000,
    rounds: RoundsOption = 3,
    side: SideOption = 32,
    model: ModelOption = "cifar10",
    store: StoreOption = DEFAULT_STORE,
) -> Measurement:
    """Speed and memory of feature extraction from folders and TFRecord shards, compared with the network alone."""
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            generate_dataset(Path(folder), count, side)
        else:
            sample_dataset(data, Path(folder), count)
        return measure(Path(folder), store.resolve(), model, rounds)


SCENARIO = Scenario("extraction", run)


def generate_dataset(root: Path, count: int, side: int) -> None:
    """Write generated images to class folders below ROOT/train."""
    for number, data in enumerate(generate_jpegs(count, side)):
        _write(root / "train" / f"class_{number % _CLASSES}" / f"{number:06}.jpg", data)


def sample_dataset(data: Path, root: Path, count: int) -> None:
    """Copy at most `count` training images, spread evenly over a dataset, to class folders below ROOT/train.

    Raises:
        DatasetError: there is no dataset, or it has no folder `train`.
    """
    classes = images_by_class(locate_root(data, "train") / "train")
    files = [(name, file) for name, class_files in classes.items() for file in class_files]
    for number in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int):
        name, file = files[number]
        _write(root / "train" / name / f"{number:06}-{file.name}", file.read_bytes())


def measure(root: Path, store: Path, model: str, rounds: int) -> Measurement:
    """Compare extraction with the network alone, and its memory for all images with that for half of them.

    Args:
        root: dataset in class folders.
        store: folder of the model store.
        model: `name` or `name@version` of the classifier whose extractor and preprocessing are used.
        rounds: number of rounds; the extraction of half of the images is measured only once.
    """
    facts = machine_facts()
    files = sorted(file for file in (root / "train").rglob("*") if file.is_file())
    facts["image"] = f"{sum(file.stat().st_size for file in files) / len(files) / 1000:.1f} kB"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = {"class folders": root, "shards": _export_shards(root, folder / "shards")}
        for file in files[::2]:
            _write(folder / "half" / file.relative_to(root), file.read_bytes())
        half_sources = {
            "class folders": folder / "half",
            "shards": _export_shards(folder / "half", folder / "half-shards"),
        }
        network: list[NetworkResult] = []
        extractions: dict[str, list[ExtractionResult]] = {name: [] for name in sources}
        for number in range(rounds):
            network.append(NetworkResult(*_run_worker("network", store.resolve(), model, root)))
            for name in list(sources)[:: 1 if number % 2 == 0 else -1]:  # in alternating order
                extractions[name].append(_extract(store, model, sources[name]))
        half = {name: _extract(store, model, source) for name, source in half_sources.items()}
    figures = _network_figures(network)
    for name, results in extractions.items():
        figures += _extraction_figures(name, results, half[name], network)
    return Measurement(f"Extraction of {len(files):,} images, preprocessed for {model}", figures, facts)


def _network_figures(results: Sequence[NetworkResult]) -> list[Figure]:
    first = results[0]
    all_cores = f"{first.engine}, batch size {first.batch_size} on all cores"
    per_core = f"{first.engine}, batch size {first.per_core_batch_size} on each core"
    return [
        Figure(all_cores, [result.rate for result in results], "images/s"),
        Figure(per_core, [result.per_core_rate for result in results], "images/s"),
        Figure("upper bound: cores / (decode + network)", [result.bound for result in results], "images/s"),
        Figure("decode", [1000 * result.decode_cpu_s for result in results], "CPU ms/image"),
        Figure("network", [1000 * result.network_cpu_s for result in results], "CPU ms/image"),
    ]


def _extraction_figures(
    name: str, results: Sequence[ExtractionResult], half: ExtractionResult, network: Sequence[NetworkResult]
) -> list[Figure]:
    """Return the figures of the extractions from one source.

    Args:
        name: of the source.
        results: extraction of all images, by round.
        half: extraction of half of the images.
        network: the network alone, by round.
    """
    pairs = list(zip(results, network, strict=True))
    cpu_seconds = [(result.cpu_s / result.images, bare.network_cpu_s + bare.decode_cpu_s) for result, bare in pairs]
    image_count = results[0].images
    peak_mb = [result.peak_mb for result in results]
    return [
        Figure(name, [result.rate for result in results], "images/s"),
        Figure(f"{name} / all cores", [result.rate / bare.rate for result, bare in pairs], at_least=MIN_RATIO),
        Figure(f"{name} / each core", [result.rate / bare.per_core_rate for result, bare in pairs]),
        Figure(f"{name} / upper bound", [result.rate / bare.bound for result, bare in pairs]),
        Figure(f"{name}, CPU", [1000 * extraction for extraction, _ in cpu_seconds], "CPU ms/image"),
        Figure(f"(decode + network) / {name}, CPU", [bare / extraction for extraction, bare in cpu_seconds]),
        Figure(f"{name}: listing and hashing", [result.images / result.load_s for result in results], "images/s"),
        Figure(f"peak memory, {image_count:,} from {name}", peak_mb, "MB", at_most=MAX_PEAK_MB),
        Figure(f"peak memory, {half.images:,} from {name}", [half.peak_mb], "MB"),
    ]


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _export_shards(root: Path, target: Path) -> Path:
    with hide_startup_messages():
        # Imports TensorFlow, which extraction from class folders does not need.
        from training.ingest import tfrecord_export

    tfrecord_export.export(root, target, _SHARDS)
    return target


def _extract(store: Path, model: str, root: Path) -> ExtractionResult:
    with tempfile.TemporaryDirectory() as cache:
        return ExtractionResult(*_run_worker("extraction", store.resolve(), model, root, cache))


def _run_worker(task: str, *arguments: str | Path) -> Any:
    command = [sys.executable, "-m", "benchmarks.offline.extraction_worker", task, *map(str, arguments)]
    return json.loads(subprocess.check_output(command, text=True))
