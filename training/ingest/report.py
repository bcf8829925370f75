"""The result of an import: what is in the new dataset, what was rejected, and how both are shown."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from training.data.layout import REJECTED_FILE

#: Rows of the table of rejected files; the file lists all of them.
_MAX_ROWS = 40


@dataclass(frozen=True)
class RejectedFile:
    """A file or folder that is not used, by its path in the source."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImportReport:
    """The contents of the new dataset and the rejected files.

    Attributes:
        images: split -> class -> number of images.
        notes: remarks on the dataset as a whole, one line each.
    """

    folder: Path
    images: Mapping[str, Mapping[str, int]]
    rejected: tuple[RejectedFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Number of images in all splits."""
        return sum(sum(classes.values()) for classes in self.images.values())

    def summary(self) -> RenderableType:
        """Return tables and lines for `rich`: rejected files, imported images, notes."""
        parts: list[RenderableType] = []
        if self.rejected:
            parts.append(_rejection_table(self.rejected))
        parts.append(self._split_table())
        parts += [Text(f"Note: {note}", style="yellow") for note in self.notes]
        if self.rejected:
            line = f"Warning: {len(self.rejected):,} files rejected; see {self.folder / REJECTED_FILE}"
            parts.append(Text(line, style="yellow"))
        parts.append(Text(f"Imported {self.total:,} images to {self.folder}", style="bold"))
        return Group(*parts)

    def _split_table(self) -> Table:
        table = Table(title="Imported", title_justify="left")
        table.add_column("Split")
        for heading in ("Classes", "Images", "Smallest class", "Largest class"):
            table.add_column(heading, justify="right")
        for split, classes in self.images.items():
            counts = classes.values()
            figures = (len(classes), sum(counts), min(counts), max(counts))
            table.add_row(split, *(f"{figure:,}" for figure in figures))
        return table


def _rejection_table(rejected: Sequence[RejectedFile]) -> Table:
    """Build a table of the first rejected files and their reasons."""
    hidden = len(rejected) - _MAX_ROWS
    table = Table(title=f"Rejected: {len(rejected):,}", title_justify="left")
    table.caption = f"and {hidden:,} more" if hidden > 0 else None
    table.add_column("File", overflow="fold")
    table.add_column("Reason", overflow="fold")
    for item in rejected[:_MAX_ROWS]:
        table.add_row(Text(item.path), Text(item.reason))
    return table


def write_rejected(rejected: Sequence[RejectedFile], folder: Path) -> None:
    """Write rejected.csv (path, reason) to a dataset's folder, unless nothing was rejected."""
    if not rejected:
        return
    with (folder / REJECTED_FILE).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "reason"))
        rows.writerows((item.path, item.reason) for item in rejected)
