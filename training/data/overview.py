"""Summary of a dataset: images per class, their sizes and formats.

Only image headers are read, so 70,000 images take seconds. Sizes are as stored, before any EXIF rotation.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.console.progress import Track, silent
from models.decoding.image import open_file
from training.data.dataset import read_class_names
from training.data.layout import ImageFile, detect_layout
from training.errors import DatasetError
from training.runtime.names import printable_path
from training.runtime.thread_map import thread_map

#: Rows of the table of classes; a longer table is hard to read in a terminal.
_MAX_ROWS = 40
#: Files named in the lists of unreadable and of unused ones.
_MAX_PATHS_SHOWN = 5


@dataclass(frozen=True)
class Header:
    """The header of an image file; width and height in px."""

    file: ImageFile
    format: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True)
class Overview:
    """The headers of all images of a dataset, and the files without a readable header.

    Attributes:
        class_names: class -> plain name.
        unused: a line for each entry of the folder that is in no class.
    """

    name: str
    root: Path
    class_names: dict[str, str]
    headers: tuple[Header, ...]
    unreadable: tuple[ImageFile, ...]
    unused: tuple[str, ...] = ()

    @property
    def splits(self) -> list[str]:
        """Splits that contain images, in the order of their folders."""
        return list(dict.fromkeys(header.file.split for header in self.headers))

    def counts(self) -> dict[str, Counter[str]]:
        """Return class folder -> split -> number of images, sorted by class folder."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for header in self.headers:
            counts[header.file.label][header.file.split] += 1
        return dict(sorted(counts.items()))

    def headers_of(self, split: str) -> list[Header]:
        """Return the headers of one split."""
        return [header for header in self.headers if header.file.split == split]

    def tables(self) -> RenderableType:
        """Return tables for `rich`: counts, sizes and formats, and the unreadable files."""
        parts: list[RenderableType] = [_count_table(self), _size_table(self)]
        if self.unreadable:
            paths = [printable_path(file.path, self.root) for file in self.unreadable]
            parts.append(Text(f"{len(paths):,} files are not readable images: {_first(paths)}", style="yellow"))
        if self.unused:
            parts.append(Text(f"{len(self.unused):,} entries are not used: {_first(self.unused)}", style="yellow"))
        return Group(*parts)


def read_overview(folder: Path, name: str = "", track: Track = silent) -> Overview:
    """Read the headers of a dataset's images.

    Args:
        folder: in a layout that `training.data.layout` detects.
        name: for titles; empty means the folder's name.
        track: shows progress.

    Raises:
        DatasetError: there are no class folders with readable images.
    """
    layout = detect_layout(folder)
    with track("Reading headers", len(layout.files)) as advance:
        results = thread_map(_read_header, layout.files, advance)
    headers = tuple(item for item in results if isinstance(item, Header))
    unreadable = tuple(item for item in results if isinstance(item, ImageFile))
    if not headers:
        raise DatasetError(f"None of the {len(unreadable):,} files in {folder} is a readable image.")
    ids = sorted({file.label for file in layout.files})
    unused = tuple(
        f"{printable_path(entry.path, layout.root)} {entry.reason}" for entry in (*layout.unused, *layout.loose)
    )
    return Overview(name or layout.root.name, layout.root, _names(layout.root, ids), headers, unreadable, unused)


def _read_header(file: ImageFile) -> Header | ImageFile:
    """Return the header, or the file itself if its header cannot be read."""
    try:
        with open_file(file.path) as image:
            return Header(file, image.format or "", image.width, image.height, file.path.stat().st_size)
    except Exception:  # Pillow raises OSError, SyntaxError, struct.error and more on damaged headers
        return file


def _names(root: Path, ids: Sequence[str]) -> dict[str, str]:
    """Return plain names; where classes share one, which is allowed here, the folder's name is added."""
    plain = {key: read_class_names(root, [key], {})[0] for key in ids}
    counts = Counter(plain.values())
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in plain.items()}


def _count_table(overview: Overview) -> Table:
    counts, splits = overview.counts(), overview.splits
    table = Table(title=f"{len(overview.headers):,} images of {len(counts):,} classes", title_justify="left")
    table.add_column("Class")
    for split in splits:
        table.add_column(split, justify="right")
    for label in _shown_classes(counts):
        figures = ("…" if label is None else f"{counts[label][split]:,}" for split in splits)
        table.add_row("…" if label is None else Text(overview.class_names[label]), *figures)
    table.add_section()
    table.add_row("all", *(f"{len(overview.headers_of(split)):,}" for split in splits))
    return table


def _shown_classes(counts: dict[str, Counter[str]]) -> list[str | None]:
    """Return all classes, or, if there are too many rows, those with the fewest and most images around a None."""
    if len(counts) <= _MAX_ROWS:
        return list(counts)
    order = sorted(counts, key=lambda label: (counts[label].total(), label))
    return [*order[: _MAX_ROWS // 2], None, *order[-_MAX_ROWS // 2 :]]


def _size_table(overview: Overview) -> Table:
    table = Table("Split", "Formats", title="Sizes: minimum / median / maximum", title_justify="left")
    for heading in ("Width, px", "Height, px", "Bytes"):
        table.add_column(heading, justify="right")
    for split in overview.splits:
        headers = overview.headers_of(split)
        formats = Counter(header.format for header in headers).most_common()
        table.add_row(
            split,
            ", ".join(f"{name} {count:,}" for name, count in formats),
            _min_median_max(np.array([header.width for header in headers])),
            _min_median_max(np.array([header.height for header in headers])),
            _min_median_max(np.array([header.bytes for header in headers])),
        )
    return table


def _min_median_max(values: npt.NDArray[np.int64]) -> str:
    return f"{values.min():,} / {np.median(values):,.0f} / {values.max():,}"


def _first(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_MAX_PATHS_SHOWN]) + (" …" if len(paths) > _MAX_PATHS_SHOWN else "")
