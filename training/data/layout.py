"""Where the images of a dataset lie: `ROOT/SPLIT/CLASS/...`, or `ROOT/CLASS/...`, all of it for training."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path

from training.errors import DatasetError

CLASSES_FILE = "classes.tsv"
SPLITS = ("train", "valid", "val", "test")


@dataclass(frozen=True)
class ImageFile:
    """A file in a class folder, which may be no image at all."""

    path: Path
    split: str
    folder: Path

    @property
    def label(self) -> str:
        """The class, by the name of its folder."""
        return self.folder.name


@dataclass(frozen=True)
class Layout:
    """The files of a dataset by split and class, in the order of their paths."""

    root: Path
    files: tuple[ImageFile, ...]
    strays: tuple[Path, ...]
    """Files and folders that lie where no class folder is."""
    loose: tuple[Path, ...]
    """Files beside the class folders or the splits: often about them, such as a README."""

    @property
    def classes(self) -> dict[str, list[str]]:
        """Names of the class folders of each split that hold any file."""
        found: dict[str, dict[str, None]] = {}
        for file in self.files:
            found.setdefault(file.split, {})[file.label] = None
        return {split: list(labels) for split, labels in found.items()}


def detect_layout(folder: Path) -> Layout:
    """Find the splits and classes in a folder. Folders that hold nothing but one other are passed through.

    A folder named as a split is one if it holds folders; with images in it, it is a class. Hidden files and
    folders are passed over.

    Raises:
        DatasetError: there are no class folders with files.
    """
    root = _root(folder)
    splits = sorted(filter(_is_split, _folders(root)), key=lambda split: SPLITS.index(split.name.lower()))
    if splits:
        strays = [child for child in _folders(root) if child not in splits]
        strays += [file for split in splits for file in _plain_files(split)]
    else:
        strays = []
    files = tuple(
        ImageFile(path, split.name.lower() if splits else "train", folder)
        for split in splits or [root]
        for folder in _folders(split)
        for path in _all_files(folder)
    )
    if not files:
        raise DatasetError(f"{folder} holds no folders of images. It needs one folder for each class.")
    return Layout(root, files, tuple(strays), tuple(_plain_files(root)))


def _root(folder: Path) -> Path:
    children = _folders(folder)
    if len(children) == 1 and not _is_split(children[0]) and _folders(children[0]):
        return _root(children[0])
    return folder


def _is_split(folder: Path) -> bool:
    return folder.name.lower() in SPLITS and bool(_folders(folder))


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _is_hidden(child.name))


def _plain_files(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_file() and not _is_hidden(child.name))


def _all_files(folder: Path) -> list[Path]:
    found = []
    for below, folders, names in os.walk(folder):
        folders[:] = filterfalse(_is_hidden, folders)
        found += [Path(below, name) for name in filterfalse(_is_hidden, names)]
    return sorted(filter(Path.is_file, found), key=str)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # where macOS keeps its bookkeeping in archives
