"""Folders and output of one training run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.artifacts.store import Store
from models.console.progress import Track
from training.runtime.folders import CACHE_FOLDER

#: Lines about files that are not used in a log.
_MAX_LEFT_OUT = 20


@dataclass(frozen=True)
class RunContext:
    """Where a run reads and writes, and how it reports progress.

    Attributes:
        store: extractors are read from it, and results are written to it unless there is an `unpublished` store.
        track: shows progress bars.
        log: receives one line per step.
        data_path: the dataset, a folder or an archive; None means the recipe's path below `DATA_FOLDER`. For a recipe
            that fits a network and has no [data], the folder that contains the datasets of its tasks.
        cache: folder for features, checkpoints, downloads and unpacked archives.
        unpublished: the store that results are written to instead, which no server reads.
    """

    store: Store
    track: Track
    log: Callable[[str], None]
    data_path: Path | None = None
    cache: Path = CACHE_FOLDER
    unpublished: Store | None = None

    @property
    def output(self) -> Store:
        """The store that results are written to."""
        return self.unpublished or self.store

    def log_left_out(self, lines: Sequence[str], listed_in: str = "") -> None:
        """Log entries that are not used; see the function `log_left_out`."""
        log_left_out(self.log, lines, listed_in)


def log_left_out(log: Callable[[str], None], lines: Sequence[str], listed_in: str = "") -> None:
    """Log entries that are not used, one line each; of a long list, the first ones and the number of the others.

    Args:
        log: receives the lines.
        lines: the path of each entry and why it is not used.
        listed_in: where all of them are listed.
    """
    for line in lines[:_MAX_LEFT_OUT]:
        log(f"left out: {line}")
    if len(lines) > _MAX_LEFT_OUT:
        where = f", which {listed_in} lists" if listed_in else ""
        log(f"left out: {len(lines) - _MAX_LEFT_OUT:,} more{where}")
