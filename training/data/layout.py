"""Folder layouts of datasets: `ROOT/SPLIT/CLASS/...`, or `ROOT/CLASS/...` with all images for training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path

from training.errors import DatasetError

CLASSES_FILE = "classes.tsv"
SPLITS = ("train", "valid", "val", "test")

#: Where macOS stores metadata in the archives that it makes.
_MACOS_METADATA = "__MACOSX"


@dataclass(frozen=True)
class ImageFile:
    """A file in a class folder. It is not necessarily an image."""

    path: Path
    split: str
    folder: Path

    @property
    def label(self) -> str:
        """Class label, which is the name of the class folder."""
        return self.folder.name


@dataclass(frozen=True)
class Layout:
    """The files of a dataset by split and class, sorted by path.

    Attributes:
        strays: files and folders beside the splits or class folders that should be in a class folder.
        loose: files directly in the root, which often describe the dataset, such as a README.
    """

    root: Path
    files: tuple[ImageFile, ...]
    strays: tuple[Path, ...]
    loose: tuple[Path, ...]

    @property
    def classes(self) -> dict[str, list[str]]:
        """Split -> names of its class folders that contain any file."""
        labels: dict[str, dict[str, None]] = {}
        for file in self.files:
            labels.setdefault(file.split, {})[file.label] = None
        return {split: list(names) for split, names in labels.items()}


def detect_layout(folder: Path) -> Layout:
    """Find the splits and classes in a folder.

    Folders that contain nothing but one other folder are skipped. A folder named like a split is a split if it
    contains folders; if it contains images, it is a class. Hidden files and folders are ignored.

    Raises:
        DatasetError: there are no class folders with files.
    """
    root = _skip_wrappers(folder)
    splits = sorted(filter(_is_split, _folders(root)), key=lambda split: SPLITS.index(split.name.lower()))
    if splits:
        strays = [child for child in _folders(root) if child not in splits]
        strays += [file for split in splits for file in _plain_files(split)]
    else:
        strays = []
    files = tuple(
        ImageFile(path, split.name.lower() if splits else "train", class_folder)
        for split in splits or [root]
        for class_folder in _folders(split)
        for path in _all_files(class_folder)
    )
    if not files:
        raise DatasetError(f"{folder} holds no folders of images. It needs one folder for each class.")
    return Layout(root, files, tuple(strays), tuple(_plain_files(root)))


def is_hidden(path: Path, root: Path) -> bool:
    """Return True if a part of the path below `root` is hidden."""
    return any(map(_is_hidden_name, path.relative_to(root).parts))


def _skip_wrappers(folder: Path) -> Path:
    children = _folders(folder)
    if len(children) == 1 and not _is_split(children[0]) and _folders(children[0]):
        return _skip_wrappers(children[0])
    return folder


def _is_split(folder: Path) -> bool:
    return folder.name.lower() in SPLITS and bool(_folders(folder))


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _is_hidden_name(child.name))


def _plain_files(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_file() and not _is_hidden_name(child.name))


def _all_files(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = filterfalse(_is_hidden_name, folders)
        files += [Path(parent, name) for name in filterfalse(_is_hidden_name, names)]
    return sorted(filter(Path.is_file, files), key=str)


def _is_hidden_name(name: str) -> bool:
    return name.startswith(".") or name == _MACOS_METADATA
