"""Labelled datasets: `ROOT/SPLIT/CLASS/FILE`, TFRecord shards in `ROOT/SPLIT`, or an archive of such a folder.

Only paths, labels and digests are kept in memory; images are read when they are needed.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from models.arrays import Integers
from training.data.archives import locate_root
from training.data.layout import CLASSES_FILE, is_hidden
from training.data.split import Split, StoredImage, fit_indices, make_split
from training.errors import DatasetError
from training.recipes.data import DatasetSpec
from training.runtime.folders import CACHE_FOLDER, DATA_FOLDER

#: Classes named in an error message.
_MAX_CLASSES_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training split and optional test and validation splits over the same classes.

    Attributes:
        class_ids: names of the class folders, in the order of the labels.
        class_names: plain names of the classes, in the same order.
        has_holdout: True if the fixed 5 % of the training split is held out from fitting.
    """

    root: Path
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    train: Split
    test: Split | None
    valid: Split | None = None
    has_holdout: bool = True

    @property
    def fit_indices(self) -> Integers:
        """Indices of the training images to fit on."""
        return fit_indices(self.train) if self.has_holdout else np.arange(len(self.train), dtype=np.int64)

    def merged_for_training(self) -> Dataset:
        """Return the dataset with the training and validation images as training split and no holdout."""
        train = self.train.joined_with(self.valid) if self.valid else self.train
        return replace(self, train=train, valid=None, has_holdout=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every image's bytes, class and split, independent of file names and order."""
        lines = [
            f"{name} {self.class_ids[label]} {digest}"
            for name, split in (("train", self.train), ("test", self.test), ("valid", self.valid))
            if split is not None
            for label, digest in zip(split.labels, split.digests, strict=True)
        ]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def load_dataset(
    spec: DatasetSpec,
    location: Path | None = None,
    class_ids: Sequence[str] = (),
    cache: Path = CACHE_FOLDER,
    digests: dict[StoredImage, str] | None = None,
) -> Dataset:
    """Open a dataset.

    Args:
        spec: the recipe's description of the dataset and its splits.
        location: a folder or an archive; None means `spec.path` below the data folder.
        class_ids: order of the class folders; empty means sorted by name.
        cache: where archives are unpacked.
        digests: known digests of images; missing ones are computed and added.

    Raises:
        DatasetError: there is no dataset at the location, or it has no class folders with images.
    """
    root = locate_root(location or DATA_FOLDER / spec.path, spec.train, cache)
    train = images_by_class(root / spec.train)
    order = tuple(class_ids) or tuple(sorted(train))
    if set(order) != set(train):
        raise DatasetError(f"{root / spec.train} has other classes than the recipe: {_difference(order, train)}.")
    test, valid = (_measured_split(root / name, order, digests) if name else None for name in (spec.test, spec.valid))
    names = read_class_names(root, order, spec.names)
    return Dataset(root, order, names, make_split(train, order, digests), test, valid)


def _measured_split(folder: Path, order: Sequence[str], digests: dict[StoredImage, str] | None) -> Split:
    """Read a test or validation split, which may lack some of the classes but has no others."""
    classes = images_by_class(folder)
    if not set(classes) <= set(order):
        extra = ", ".join(sorted(set(classes) - set(order))[:_MAX_CLASSES_SHOWN])
        raise DatasetError(f"{folder} has classes without training images: {extra}.")
    return make_split(classes, order, digests)


def read_class_names(root: Path, class_ids: Sequence[str], overrides: Mapping[str, str]) -> tuple[str, ...]:
    """Return the plain names of classes: from `overrides`, else the first name in classes.tsv, else the folder's.

    Raises:
        DatasetError: two classes would have the same name.
    """
    names = dict(overrides)
    table = root / CLASSES_FILE
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as rows:
            for key, *synonyms in filter(None, csv.reader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)):
                names.setdefault(key, "".join(synonyms[:1]).partition(",")[0].strip())
    plain = tuple(names.get(key) or key for key in class_ids)
    duplicates = {name for name in plain if plain.count(name) > 1}
    if duplicates:
        raise DatasetError(
            f"Two classes are named {min(duplicates)!r}. Give them different names in the recipe's data.names."
        )
    return plain


def images_by_class(folder: Path) -> Mapping[str, Sequence[StoredImage]]:
    """Return the images of a split by class, sorted: files of class folders, or records of TFRecord shards.

    Hidden files and folders are ignored.

    Raises:
        DatasetError: the folder does not exist or has no images.
    """
    shards = sorted(folder.glob("*.tfrecord*"))
    if shards:
        from training.data.tfrecords import records_by_class  # imports TensorFlow

        return records_by_class(shards)
    if not folder.is_dir():
        raise DatasetError(
            f"There is no folder {folder}. A dataset has one folder for each split, with one for each class."
        )
    classes = {
        entry.name: sorted(file for file in entry.rglob("*") if file.is_file() and not is_hidden(file, entry))
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not is_hidden(entry, folder)
    }
    nonempty = {name: files for name, files in classes.items() if files}
    if not nonempty:
        raise DatasetError(f"{folder} holds no folders of images. It needs one folder for each class.")
    return nonempty


def _difference(expected: Sequence[str], actual: Collection[str]) -> str:
    missing, extra = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
    parts = [f"missing {', '.join(missing[:_MAX_CLASSES_SHOWN])}"] if missing else []
    parts += [f"not expected {', '.join(extra[:_MAX_CLASSES_SHOWN])}"] if extra else []
    return "; ".join(parts)
