"""Where a run reads and writes, and how it tells of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.artifacts.store import Store
from models.console.progress import Track
from training.data.dataset import CACHE_FOLDER
from training.evaluation.results import Report, unreported
from training.extractor.initial_weights import Downloads


@dataclass(frozen=True)
class RunContext:
    """Where a run reads and writes, and how it tells of itself.

    Attributes:
        store: where extractors are found and results go.
        track: shows progress.
        say: is told each step in a line.
        location: the dataset, a folder or an archive; none means the recipe's path below the project's data
            folder. For a recipe that fits a network and has no [data] of its own: the folder that holds its datasets.
        cache: features, checkpoints, unpacked archives.
        downloads: where ImageNet's files are, if not where Keras has them.
        report: is given what a classifier answered on the images that it was measured on.
    """

    store: Store
    track: Track
    log: Callable[[str], None]
    location: Path | None = None
    cache: Path = CACHE_FOLDER
    downloads: Downloads | None = None
    report: Report = unreported
