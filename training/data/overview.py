"""What a dataset holds: how many images of each class, how large, in which formats.

Only headers are read, so 70,000 images take seconds. Sizes are as stored, before EXIF turns a picture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.console.progress import Track, silent
from models.decoding.image import FORMATS
from training.data.dataset import class_names
from training.data.layout import ImageFile, detect_layout
from training.errors import DatasetError
from training.runtime.thread_map import thread_map

_ROWS_SHOWN = 40


@dataclass(frozen=True)
class Header:
    """What an image's file says of itself; width and height in px."""

    file: ImageFile
    format: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True)
class Overview:
    """The headers of all images of a dataset, and the files that have none."""

    name: str
    root: Path
    names: dict[str, str]
    """Class folder -> plain name."""
    headers: tuple[Header, ...]
    unreadable: tuple[ImageFile, ...]

    @property
    def splits(self) -> list[str]:
        """Splits in the order of their folders."""
        return list(dict.fromkeys(header.file.split for header in self.headers))

    def counts(self) -> dict[str, Counter[str]]:
        """Class folder -> split -> number of images, by class folder."""
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for header in self.headers:
            counts[header.file.label][header.file.split] += 1
        return dict(sorted(counts.items()))

    def of(self, split: str) -> list[Header]:
        """The headers of one split."""
        return [header for header in self.headers if header.file.split == split]

    def tables(self) -> RenderableType:
        """For `rich`: counts, sizes and formats, and what could not be read."""
        parts: list[RenderableType] = [_count_table(self), _size_table(self)]
        if self.unreadable:
            paths = [str(file.path.relative_to(self.root)) for file in self.unreadable]
            parts.append(Text(f"{len(paths):,} files are no images that can be read: {_first(paths)}", style="yellow"))
        return Group(*parts)


def survey(folder: Path, name: str = "", track: Track = silent) -> Overview:
    """Read the headers of a dataset's images.

    Args:
        folder: as `training.data.layout` understands it.
        name: for titles; none means the folder's.
        track: shows progress.

    Raises:
        DatasetError: there are no class folders with images.
    """
    layout = detect_layout(folder)
    with track("Reading headers", len(layout.files)) as advance:
        read = thread_map(_read_header, layout.files, advance)
    headers = tuple(item for item in read if isinstance(item, Header))
    unreadable = tuple(item for item in read if isinstance(item, ImageFile))
    if not headers:
        raise DatasetError(f"None of the {len(unreadable):,} files in {folder} is an image that can be read.")
    ids = sorted({file.label for file in layout.files})
    return Overview(name or layout.root.name, layout.root, _names(layout.root, ids), headers, unreadable)


def _read_header(file: ImageFile) -> Header | ImageFile:
    """The header; the file itself if there is none."""
    try:
        with Image.open(file.path, formats=FORMATS) as image:
            return Header(file, image.format or "", image.width, image.height, file.path.stat().st_size)
    except Exception:  # Pillow raises OSError, SyntaxError, struct.error and more on broken headers
        return file


def _names(root: Path, ids: Sequence[str]) -> dict[str, str]:
    """Plain names; two classes may share one here, so the folder's name is then added."""
    plain = {key: class_names(root, [key], {})[0] for key in ids}
    counts = Counter(plain.values())
    return {key: name if counts[name] == 1 else f"{name} ({key})" for key, name in plain.items()}


def _count_table(overview: Overview) -> Table:
    counts, splits = overview.counts(), overview.splits
    table = Table(title=f"{len(overview.headers):,} images of {len(counts):,} classes", title_justify="left")
    table.add_column("Class")
    for split in splits:
        table.add_column(split, justify="right")
    for label in _shown(counts):
        figures = ("…" if label is None else f"{counts[label][split]:,}" for split in splits)
        table.add_row("…" if label is None else Text(overview.names[label]), *figures)
    table.add_section()
    table.add_row("all", *(f"{len(overview.of(split)):,}" for split in splits))
    return table


def _shown(counts: dict[str, Counter[str]]) -> list[str | None]:
    """All classes; of very many those with the fewest and the most images, and None between them."""
    if len(counts) <= _ROWS_SHOWN:
        return list(counts)
    order = sorted(counts, key=lambda label: (counts[label].total(), label))
    return [*order[: _ROWS_SHOWN // 2], None, *order[-_ROWS_SHOWN // 2 :]]


def _size_table(overview: Overview) -> Table:
    table = Table("Split", "Formats", title="Sizes: least / median / most", title_justify="left")
    for heading in ("Width, px", "Height, px", "Bytes"):
        table.add_column(heading, justify="right")
    for split in overview.splits:
        headers = overview.of(split)
        formats = Counter(header.format for header in headers).most_common()
        table.add_row(
            split,
            ", ".join(f"{name} {count:,}" for name, count in formats),
            _spread(np.array([header.width for header in headers])),
            _spread(np.array([header.height for header in headers])),
            _spread(np.array([header.bytes for header in headers])),
        )
    return table


def _spread(values: npt.NDArray[np.int64]) -> str:
    return f"{values.min():,} / {np.median(values):,.0f} / {values.max():,}"


def _first(paths: Sequence[str]) -> str:
    return ", ".join(paths[:5]) + (" …" if len(paths) > 5 else "")
