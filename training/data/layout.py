"""Folder layouts of datasets: `ROOT/SPLIT/CLASS/...`, or `ROOT/CLASS/...` with all images for training.

Every entry of a folder is either used or listed with a reason; only metadata of file managers is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from models.file_names import is_metadata
from training.data.class_folder import (
    OUTSIDE_CLASS_FOLDERS,
    ClassFolder,
    UnusedEntry,
    first_damaged,
    read_class_folder,
    reject_nested_classes,
    why_unused,
)
from training.data.unpacking.damaged import why_damaged
from training.errors import DatasetError
from training.runtime.names import normalized, printable

CLASSES_FILE = "classes.tsv"
REJECTED_FILE = "rejected.csv"
SPLITS = ("train", "valid", "test")

#: Files that describe a dataset, and are not reported as unused.
DESCRIPTIONS = (CLASSES_FILE, REJECTED_FILE)
#: Names of split folders, in any case. Each group is called like the split that its names stand for.
_SPLIT_NAME = re.compile(
    r"(?:(?P<train>train(?:ing)?)|(?P<valid>val(?:id(?:ation)?)?)|(?P<test>test(?:ing)?))(?:[-_ ]?set)?",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class ImageFile:
    """A file in a class folder. It is not necessarily an image.

    Attributes:
        split: `train`, `valid` or `test`.
        folder: the class folder.
    """

    path: Path
    split: str
    folder: Path

    @property
    def label(self) -> str:
        """Name of the class, which is the normalized name of the class folder."""
        return normalized(self.folder.name)


@dataclass(frozen=True)
class Layout:
    """The files of a dataset by split and class, sorted by path.

    Attributes:
        unused: entries in the splits or class folders, and folders beside them, that are not used.
        loose: files beside the splits or class folders, which often describe the dataset, such as a README.
    """

    root: Path
    files: tuple[ImageFile, ...]
    unused: tuple[UnusedEntry, ...]
    loose: tuple[UnusedEntry, ...]

    def unusable_folders(self, usable: Collection[ImageFile]) -> list[ImageFile]:
        """Return the first file of each class folder that has files, but none of the usable ones."""
        found = {file.folder for file in usable}
        first = {file.folder: file for file in reversed(self.files)}
        return [first[folder] for folder in dict.fromkeys(file.folder for file in self.files) if folder not in found]


def detect_layout(folder: Path) -> Layout:
    """Find the splits and classes in a folder.

    Folders that contain nothing but one other folder are skipped. A folder named like a split is a split if it
    contains folders; if it contains images, it is a class.

    Raises:
        DatasetError: there are no class folders with files, two folders are the same split, or the class folders
            are splits or contain class folders again.
    """
    root, loose = _skip_wrappers(folder)
    loose += loose_files(root)
    splits = _find_splits(root)
    unused = _beside_splits(root, set(splits.values())) if splits else []
    files: list[ImageFile] = []
    for split, split_folder in (splits or {"train": root}).items():
        classes, more = read_class_folders(split_folder)
        unused += [entry for entry in more if entry not in loose]
        files += [ImageFile(path, split, item.path) for item in classes for path in item.files]
    if not splits:
        _reject_splits_without_classes(root, {file.folder for file in files})
    if not files:
        raise DatasetError(
            f"{folder} holds no folders of images. It needs one folder for each class.{first_damaged(unused)}"
        )
    damaged = [entry for entry in loose if why_damaged(entry.path)]
    others = [entry for entry in loose if entry not in damaged]
    return Layout(root, tuple(files), (*damaged, *unused), tuple(others))


def read_class_folders(split: Path, *, labelled: bool = True) -> tuple[list[ClassFolder], list[UnusedEntry]]:
    """Return the class folders of a split, or of a dataset without splits, and the entries that are not used.

    Args:
        split: the folder.
        labelled: False if the folders need not be classes: they may contain the same folders again, and without any
            folder of files, the split itself is the only one.

    Raises:
        DatasetError: a class has a name that is not UTF-8, or the class folders contain class folders again.
    """
    folder, unused = _skip_same_name(split)
    found = [read_class_folder(entry) for entry in _folders(folder)]
    classes = [item for item in found if item.files]
    if labelled:
        reject_nested_classes(folder, classes)
    elif not classes:
        flat = read_class_folder(folder)
        images = tuple(file for file in flat.files if not is_description(file))
        return ([replace(flat, files=images)] if images else []), [*unused, *flat.unused]
    return classes, [*unused, *loose_files(folder), *(entry for item in found for entry in item.unused)]


def _skip_same_name(split: Path) -> tuple[Path, list[UnusedEntry]]:
    """Skip folders of the same name, as in `training_set/training_set/CLASS`; return what lies beside them, too."""
    children = _folders(split)
    name = split_of(split.name)
    if len(children) != 1 or name is None or split_of(children[0].name) != name or not _folders(children[0]):
        return split, []
    folder, unused = _skip_same_name(children[0])
    beside = [UnusedEntry(entry, why_unused(entry)) for entry in entries(split) if entry != children[0]]
    return folder, beside + unused


def find_split(root: Path, name: str) -> Path:
    """Return the folder of a split that is given by name: the folder of that name, else of the same split.

    Raises:
        DatasetError: there is no folder of that name, and there are several of the same split.
    """
    split = split_of(name)
    if split is None or not root.is_dir():
        return root / name
    folders = [folder for folder in _folders(root) if split_of(folder.name) == split]
    named = [folder for folder in folders if folder.name == name]
    if not named:
        _reject_several(root, split, folders)
    return (named or folders or [root / name])[0]


def split_of(name: str) -> str | None:
    """Return the split that the name of a folder stands for (`train`, `valid` or `test`), or None."""
    match = _SPLIT_NAME.fullmatch(name)
    return match.lastgroup if match else None


def is_wrapper(folder: Path) -> bool:
    """Return True for a folder that is no split, and may be skipped if nothing is beside it.

    A folder named like a split is a wrapper if it contains splits, as in `training.zip` with `training/train/CLASS`.
    """
    return split_of(folder.name) is None or any(map(_is_split, _folders(folder)))


def entries(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, sorted, without metadata of file managers."""
    return sorted(entry for entry in folder.iterdir() if not is_metadata(entry.name))


def is_description(entry: Path) -> bool:
    """Return True for a file that describes a dataset; not for one that was damaged in its archive."""
    return entry.name in DESCRIPTIONS and not why_damaged(entry)


def loose_files(folder: Path) -> list[UnusedEntry]:
    """Return the files in a folder that do not describe a dataset."""
    files = [entry for entry in entries(folder) if not entry.is_dir() and not is_description(entry)]
    return [UnusedEntry(file, why_unused(file)) for file in files]


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in entries(folder) if entry.is_dir()]


def _is_split(folder: Path) -> bool:
    return split_of(folder.name) is not None and bool(_folders(folder))


def _skip_wrappers(folder: Path) -> tuple[Path, list[UnusedEntry]]:
    """Return the folder of the dataset, and the files beside it in the skipped folders."""
    children = _folders(folder)
    if len(children) != 1 or not is_wrapper(children[0]) or not _folders(children[0]):
        return folder, []
    root, loose = _skip_wrappers(children[0])
    return root, loose_files(folder) + loose


def _find_splits(root: Path) -> dict[str, Path]:
    """Return the split folders in the order of SPLITS."""
    candidates = [folder for folder in _folders(root) if _is_split(folder)]
    found: dict[str, Path] = {}
    for split in SPLITS:
        folders = [folder for folder in candidates if split_of(folder.name) == split]
        _reject_several(root, split, folders)
        if folders:
            found[split] = folders[0]
    return found


def _reject_several(root: Path, split: str, folders: list[Path]) -> None:
    if len(folders) > 1:
        names = " and ".join(printable(folder.name) for folder in folders)
        raise DatasetError(f"{root} has several folders for the split {split}: {names}. Merge or rename them.")


def _reject_splits_without_classes(root: Path, class_folders: set[Path]) -> None:
    names = sorted(folder.name for folder in class_folders if split_of(folder.name))
    if len(names) > 1:
        raise DatasetError(
            f"{root} has the splits {', '.join(names)}, but no class folders in them. Make one folder for each class, "
            "as in train/CLASS/FILE."
        )


def _beside_splits(root: Path, splits: set[Path]) -> list[UnusedEntry]:
    """Return the folders beside the splits."""
    return [
        UnusedEntry(
            folder,
            "is named like a split, but has no class folders" if split_of(folder.name) else OUTSIDE_CLASS_FOLDERS,
        )
        for folder in _folders(root)
        if folder not in splits
    ]
