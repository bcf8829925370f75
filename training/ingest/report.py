"""What an import did, and how that is shown."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

REJECTED_FILE = "rejected.csv"

_ROWS_SHOWN = 40


@dataclass(frozen=True)
class Rejected:
    """A file that was left out, by its path in the source."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """What lies in the new dataset and what does not."""

    folder: Path
    images: Mapping[str, Mapping[str, int]]
    """Split -> class -> number of images."""
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    """What a user should know of the dataset as a whole."""

    @property
    def total(self) -> int:
        """Images in all splits."""
        return sum(sum(classes.values()) for classes in self.images.values())

    def summary(self) -> RenderableType:
        """For `rich`: what was rejected, what is there, what to look at."""
        parts: list[RenderableType] = []
        if self.rejected:
            parts.append(rejection_table(self.rejected))
        parts.append(self._split_table())
        parts += [Text(f"Note: {note}", style="yellow") for note in self.notes]
        if self.rejected:
            listing = self.folder / REJECTED_FILE
            line = f"Warning: {len(self.rejected):,} rejected; all are listed in {listing}"
            parts.append(Text(line, style="yellow"))
        parts.append(Text(f"{self.total:,} images are in {self.folder}", style="bold"))
        return Group(*parts)

    def _split_table(self) -> Table:
        table = Table(title="Imported", title_justify="left")
        table.add_column("Split")
        for heading in ("Classes", "Images", "Fewest in a class", "Most"):
            table.add_column(heading, justify="right")
        for split, classes in self.images.items():
            counts = classes.values()
            figures = (len(classes), sum(counts), min(counts), max(counts))
            table.add_row(split, *(f"{figure:,}" for figure in figures))
        return table


def rejection_table(rejected: Sequence[Rejected]) -> Table:
    """The first of the rejected files, with the reason of each."""
    hidden = len(rejected) - _ROWS_SHOWN
    table = Table(title=f"Rejected: {len(rejected):,}", title_justify="left")
    table.caption = f"and {hidden:,} more" if hidden > 0 else None
    table.add_column("File", overflow="fold")
    table.add_column("Reason", overflow="fold")
    for item in rejected[:_ROWS_SHOWN]:
        table.add_row(Text(item.path), Text(item.reason))
    return table


def write_rejected(rejected: Sequence[Rejected], folder: Path) -> None:
    """Write rejected.csv (path, reason) into a dataset's folder, if there is anything to write."""
    if not rejected:
        return
    with (folder / REJECTED_FILE).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "reason"))
        rows.writerows((item.path, item.reason) for item in rejected)
