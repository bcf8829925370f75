"""Feature extraction beside the bare network: from class folders and from TFRecord shards of the same images.

Each measurement runs in a process of its own, each extraction into a cache of its own; so what a process held at most
is the extraction's. The network alone is measured in both ways to drive it: a batch at a time on all cores, as it
serves, and a batch on each core, as it extracts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import images as pictures
from benchmarks.harness.report import Figure, Measurement, machine
from benchmarks.offline.extraction_worker import Bare, Extraction
from models.console.tensorflow_logs import hide_startup_messages
from training.data import dataset as datasets

TARGET = 0.9
TARGET_MB = 2000.0
_SHARDS = 8
_CLASSES = 10


def draw(root: Path, count: int, side: int) -> None:
    """So many different pictures in class folders below ROOT/train."""
    for number, data in enumerate(pictures.jpegs(count, side)):
        _write(root / "train" / f"class_{number % _CLASSES}" / f"{number:06}.jpg", data)


def choose(data: Path, root: Path, count: int) -> None:
    """Copy at most so many training images of a dataset, spread over all of it, into class folders below ROOT/train.

    Raises:
        DatasetError: there is no dataset, or it has no folder `train`.
    """
    classes = datasets.class_folders(datasets.unpacked(data, "train") / "train")
    files = [(name, file) for name, there in classes.items() for file in there]
    for number in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int):
        name, file = files[number]
        _write(root / "train" / name / f"{number:06}-{file.name}", file.read_bytes())


def measure(root: Path, store: Path, model: str, rounds: int) -> Measurement:
    """Compare both with the bare network, and what they hold of half as many images with what of all.

    Args:
        root: of a dataset in class folders.
        store: of the artifacts.
        model: `name` or `name@version` of a classifier, whose extractor and preprocessing are taken.
        rounds: in each everything is measured once; half as many images only once.
    """
    facts = machine()
    files = sorted(file for file in (root / "train").rglob("*") if file.is_file())
    facts["a picture"] = f"{sum(file.stat().st_size for file in files) / len(files) / 1000:.1f} kB"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        sources = {"class folders": root, "shards": _exported(root, made / "shards")}
        for file in files[::2]:
            _write(made / "half" / file.relative_to(root), file.read_bytes())
        halves = {"class folders": made / "half", "shards": _exported(made / "half", made / "half-shards")}
        bare: list[Bare] = []
        found: dict[str, list[Extraction]] = {name: [] for name in sources}
        for number in range(rounds):
            bare.append(Bare(*_run("bare", store.resolve(), model, root)))
            for name in list(sources)[:: 1 if number % 2 == 0 else -1]:
                found[name].append(_extraction(store, model, sources[name]))
        half = {name: _extraction(store, model, source) for name, source in halves.items()}
    figures = _of_bare(bare)
    for name, each in found.items():
        figures += _of(name, each, half[name], bare)
    return Measurement(f"Features of {len(files):,} pictures, as {model} reads them", figures, facts)


def _of_bare(bare: Sequence[Bare]) -> list[Figure]:
    first = bare[0]
    return [
        Figure(f"{first.name}, {first.batch} on all cores", [each.rate for each in bare], "images/s"),
        Figure(f"{first.name}, {first.spread_batch} on each core", [each.spread_rate for each in bare], "images/s"),
        Figure("bound: cores / (decoding + network)", [each.bound for each in bare], "images/s"),
        Figure("decoding, of a core", [1000 * each.decode_s for each in bare], "ms/image"),
        Figure("network, of a core", [1000 * each.network_s for each in bare], "ms/image"),
    ]


def _of(name: str, found: Sequence[Extraction], half: Extraction, bare: Sequence[Bare]) -> list[Figure]:
    pairs = list(zip(found, bare, strict=True))
    processor = [(each.processor_s / each.images, alone.network_s + alone.decode_s) for each, alone in pairs]
    return [
        Figure(name, [each.rate for each in found], "images/s"),
        Figure(f"{name} / all cores", [each.rate / alone.rate for each, alone in pairs], at_least=TARGET),
        Figure(f"{name} / each core", [each.rate / alone.spread_rate for each, alone in pairs]),
        Figure(f"{name} / bound", [each.rate / alone.bound for each, alone in pairs]),
        Figure(f"{name}, of a core", [1000 * ours for ours, _ in processor], "ms/image"),
        Figure(f"decoding + network / {name}, of a core", [alone / ours for ours, alone in processor]),
        Figure(f"{name}: found and hashed", [each.images / each.found_s for each in found], "images/s"),
        Figure(f"peak, {found[0].images:,} from {name}", [each.peak_mb for each in found], "MB", at_most=TARGET_MB),
        Figure(f"peak, {half.images:,} from {name}", [half.peak_mb], "MB"),
    ]


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _exported(root: Path, to: Path) -> Path:
    with hide_startup_messages():
        from training.ingest import (
            tfrecord_export as exporting,  # with TensorFlow, which extraction from class folders does without
        )

    exporting.export(root, to, _SHARDS)
    return to


def _extraction(store: Path, model: str, root: Path) -> Extraction:
    with tempfile.TemporaryDirectory() as cache:
        return Extraction(*_run("extraction", store.resolve(), model, root, cache))


def _run(what: str, *arguments: str | Path) -> Any:
    command = [sys.executable, "-m", "benchmarks.offline.extraction_worker", what, *map(str, arguments)]
    return json.loads(subprocess.check_output(command, text=True))
