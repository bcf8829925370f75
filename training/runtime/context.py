"""Folders and output of one training run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.artifacts.store import Store
from models.console.progress import Track
from training.runtime.folders import CACHE_FOLDER


@dataclass(frozen=True)
class RunContext:
    """Where a run reads and writes, and how it reports progress.

    Attributes:
        store: extractors are read from it and results are written to it.
        track: shows progress bars.
        log: receives one line per step.
        data_path: the dataset, a folder or an archive; None means the recipe's path below `DATA_FOLDER`. For a recipe
            that fits a network and has no [data], the folder that contains the datasets of its tasks.
        cache: folder for features, checkpoints, downloads and unpacked archives.
    """

    store: Store
    track: Track
    log: Callable[[str], None]
    data_path: Path | None = None
    cache: Path = CACHE_FOLDER
