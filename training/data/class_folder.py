"""One class folder: its files at any depth, and what in it is not used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.file_names import is_metadata
from training.data.unpacking.damaged import why_damaged
from training.errors import DatasetError
from training.runtime.names import normalized, printable, printable_path

#: Reason for not using a file outside the class folders.
OUTSIDE_CLASS_FOLDERS = "is not in a class folder"

#: Folders named in an error message.
_MAX_FOLDERS_SHOWN = 5


@dataclass(frozen=True)
class UnusedEntry:
    """A file or folder that is not used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ClassFolder:
    """A class folder.

    Attributes:
        files: at any depth, sorted by path.
        unused: entries in it that are not used, or itself if it has no files.
    """

    path: Path
    files: tuple[Path, ...]
    unused: tuple[UnusedEntry, ...]

    @property
    def label(self) -> str:
        """Name of the class. Several folders may have the same, because it is normalized."""
        return normalized(self.path.name)


def read_class_folder(folder: Path) -> ClassFolder:
    """Find the files of a class folder. Links to files are followed, links to folders in it are not.

    Raises:
        DatasetError: it has files, and its name is not UTF-8.
    """
    files: list[Path] = []
    unused: list[UnusedEntry] = []

    def on_error(error: OSError) -> None:
        unused.append(UnusedEntry(Path(error.filename), f"cannot be read ({error.strerror})"))

    for name, folders, file_names in os.walk(folder, onerror=on_error):
        parent = Path(name)
        folders[:] = [child for child in folders if not is_metadata(child)]
        paths = [parent / child for child in file_names if not is_metadata(child)]
        if not folders and not paths:
            unused.append(UnusedEntry(parent, "is an empty folder"))
        links = [parent / child for child in folders if (parent / child).is_symlink()]
        unused += [UnusedEntry(link, "is a link to a folder, and links to folders are not followed") for link in links]
        for path in paths:
            if path.is_file():
                files.append(path)
            else:
                unused.append(UnusedEntry(path, why_unused(path)))
    if not files and not any(entry.path == folder for entry in unused):
        unused.append(UnusedEntry(folder, "has no files that can be used"))
    if files:
        _check_name(folder)
    return ClassFolder(folder, tuple(sorted(files, key=str)), tuple(unused))


def first_damaged(unused: Iterable[UnusedEntry]) -> str:
    """Return a sentence about the first entry that was damaged in its archive, for the end of an error message."""
    path = min((entry.path for entry in unused if why_damaged(entry.path)), default=None)
    return f" {printable_path(path, path.parents[1])} {why_damaged(path)}." if path else ""


def why_unused(entry: Path) -> str:
    """Return why an entry is not used that is neither a class folder nor a file in one."""
    if entry.is_symlink() and not entry.exists():
        return why_damaged(entry) or "is a link that leads nowhere"
    return OUTSIDE_CLASS_FOLDERS if entry.is_file() or entry.is_dir() else "is neither a file nor a folder"


def reject_nested_classes(root: Path, classes: Sequence[ClassFolder]) -> None:
    """Raise DatasetError if several class folders contain the same folders, as splits with unknown names do.

    A folder counts if at least two of the folders in it, with most of its files, are also in other class folders.
    """
    inner = {item.path: _inner_folders(item) for item in classes}
    occurrences = Counter(name for counts in inner.values() for name in counts)
    shared = {name for name, count in occurrences.items() if count > 1}
    nested = []
    for item in classes:
        counts = {name: count for name, count in inner[item.path].items() if name in shared}
        if len(counts) > 1 and 2 * sum(counts.values()) > len(item.files):
            nested.append(item)
    if len(nested) > 1:
        folders = _shorten([printable(item.path.name) for item in nested])
        found = _shorten(sorted(shared & set(inner[nested[0].path])))
        raise DatasetError(
            f"In {printable(root)}, the folders {folders} contain the same folders ({found}), so they are no classes. "
            "Name them train, valid and test if they are splits, as in train/CLASS/FILE; else make one folder for "
            "each class, as in CLASS/FILE."
        )


def _check_name(folder: Path) -> None:
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"The name of the class folder {printable(folder)} is not UTF-8. Rename it; unpack an archive first."
        ) from error


def _inner_folders(item: ClassFolder) -> Counter[str]:
    """Return the number of files in each folder of a class folder; folders that are alone are skipped."""
    paths = [path.relative_to(item.path).parts for path in item.files]
    while True:
        nested = [parts for parts in paths if len(parts) > 1]
        counts = Counter(printable(normalized(parts[0])).casefold() for parts in nested)
        if len(counts) != 1:
            return counts
        paths = [parts[1:] for parts in nested]


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_FOLDERS_SHOWN]) + (", ..." if len(names) > _MAX_FOLDERS_SHOWN else "")
