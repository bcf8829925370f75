"""Labelled images on disk: `ROOT/SPLIT/CLASS/FILE`, or TFRecord shards in `ROOT/SPLIT`; or an archive of such a folder.

Only paths, labels and digests are held; images are read when they are needed.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from models.heads import Integers
from models.offline.loader import Readable
from training.data.archives import unpack
from training.errors import DatasetError
from training.recipes.schema import Data
from training.sampling import share_of_groups

PROJECT = Path(__file__).parents[2]
DATA_FOLDER = PROJECT / "data"
CACHE_FOLDER = PROJECT / "cache"

HOLDOUT_SHARE = 0.05
_HOLDOUT_SEED = 20_151_211
_SHOWN = 5


class Stored(Readable, Protocol):
    """An image where it lies: a file, or a record of a TFRecord shard."""

    @property
    def name(self) -> str:
        """Of the file."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Of the path, by which images are sorted."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one split, sorted by class and path."""

    paths: tuple[Stored, ...]
    labels: Integers
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Integers) -> Split:
        """The images at `indices`."""
        return Split(
            tuple(self.paths[i] for i in indices),
            self.labels[indices],
            tuple(self.digests[i] for i in indices),
        )

    def with_those_of(self, other: Split) -> Split:
        """The images of both, one after the other."""
        labels = np.concatenate([self.labels, other.labels])
        return Split(self.paths + other.paths, labels, self.digests + other.digests)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training split, and where there are any a test split and a validation split, over the same classes.

    Attributes:
        holds_out: whether the fixed 5 % of the training split are kept from being fitted on.
    """

    root: Path
    ids: tuple[str, ...]
    names: tuple[str, ...]
    train: Split
    test: Split | None
    valid: Split | None = None
    holds_out: bool = True

    @property
    def fitted(self) -> Integers:
        """Indices of the training images that are fitted on."""
        return fitting(self.train) if self.holds_out else np.arange(len(self.train), dtype=np.int64)

    def everything(self) -> Dataset:
        """All images but the test set's as the training split, none of them held out."""
        train = self.train.with_those_of(self.valid) if self.valid else self.train
        return replace(self, train=train, valid=None, holds_out=False)

    @property
    def digest(self) -> str:
        """SHA-256 over every image's bytes and label, independent of file names and order."""
        lines = [
            f"{split} {self.ids[label]} {digest}"
            for split, images in (("train", self.train), ("test", self.test), ("valid", self.valid))
            if images is not None
            for label, digest in zip(images.labels, images.digests, strict=True)
        ]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def load(data: Data, location: Path | None = None, ids: Sequence[str] = (), cache: Path = CACHE_FOLDER) -> Dataset:
    """Open a dataset.

    Args:
        data: the recipe's part that names the dataset and its splits.
        location: a folder or an archive; none means `data.path` below the project's data folder.
        ids: order of the classes; none means sorted by their folders' names.
        cache: where archives are unpacked.

    Raises:
        DatasetError: nothing is there, or it has no class folders with images.
    """
    root = unpacked(location or DATA_FOLDER / data.path, data.train, cache)
    train = class_folders(root / data.train)
    order = tuple(ids) or tuple(sorted(train))
    if set(order) != set(train):
        raise DatasetError(f"{root / data.train} has other classes than the recipe: {_difference(order, train)}.")
    test, valid = (_measured(root / name, order) if name else None for name in (data.test, data.valid))
    return Dataset(root, order, class_names(root, order, data.names), split(train, order), test, valid)


def _measured(folder: Path, order: Sequence[str]) -> Split:
    """A split that is not fitted on; it may lack some of the classes."""
    classes = class_folders(folder)
    if not set(classes) <= set(order):
        extra = ", ".join(sorted(set(classes) - set(order))[:_SHOWN])
        raise DatasetError(f"{folder} has classes without training images: {extra}.")
    return split(classes, order)


def class_names(root: Path, ids: Sequence[str], overrides: dict[str, str]) -> tuple[str, ...]:
    """Plain names of classes: the recipe's, else the first in ROOT/classes.tsv, else the folder's.

    Raises:
        DatasetError: two classes would have the same name.
    """
    names = dict(overrides)
    table = root / "classes.tsv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as rows:
            for key, *synonyms in filter(None, csv.reader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)):
                names.setdefault(key, "".join(synonyms[:1]).partition(",")[0].strip())
    plain = tuple(names.get(key) or key for key in ids)
    twice = {name for name in plain if plain.count(name) > 1}
    if twice:
        raise DatasetError(f"Two classes are named {min(twice)!r}; tell them apart in the recipe's data.names.")
    return plain


def class_folders(folder: Path) -> Mapping[str, Sequence[Stored]]:
    """Images by class, sorted: the files of class folders but hidden ones, or the records of TFRecord shards.

    Raises:
        DatasetError: there are none.
    """
    shards = sorted(folder.glob("*.tfrecord*"))
    if shards:
        from training.data.tfrecords import records_by_class

        return records_by_class(shards)
    if not folder.is_dir():
        raise DatasetError(
            f"There is no folder {folder}. A dataset has one folder for each split, with one for each class."
        )
    classes = {
        entry.name: sorted(file for file in entry.rglob("*") if file.is_file() and not _is_hidden(file, entry))
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and not _is_hidden(entry, folder)
    }
    found = {name: files for name, files in classes.items() if files}
    if not found:
        raise DatasetError(f"{folder} holds no folders of images. It needs one folder for each class.")
    return found


def split(classes: Mapping[str, Sequence[Stored]], order: Sequence[str]) -> Split:
    """The files of some or all classes, labelled by their place in `order`."""
    paths = [path for key in order for path in classes.get(key, [])]
    labels = [label for label, key in enumerate(order) for _ in classes.get(key, [])]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digest, paths, chunksize=256))
    return Split(tuple(paths), np.array(labels, dtype=np.int64), tuple(digests))


def holdout(split: Split) -> Integers:
    """Indices of the fixed 5 % of a training split that calibrate and measure; the same images in every run.

    At least one image of each class that has two. In whatever order a recipe puts the classes, they are gone through
    by the names of their folders, so that what one recipe holds out is not fitted on by another.
    """
    classes = [np.flatnonzero(split.labels == label) for label in np.unique(split.labels)]
    by_folder = sorted(classes, key=lambda indices: split.paths[indices[0]].parts)
    return share_of_groups(by_folder, HOLDOUT_SHARE, np.random.default_rng(_HOLDOUT_SEED))


def fitting(split: Split) -> Integers:
    """Indices of all images of a training split but the held-out ones."""
    return np.setdiff1d(np.arange(len(split), dtype=np.int64), holdout(split))


def unpacked(location: Path, split: str, cache: Path = CACHE_FOLDER) -> Path:
    """The folder of a dataset; an archive (.tar, .tar.gz, .zip ...) is unpacked into the cache first.

    Folders that hold nothing but one other folder are passed through, down to the one that holds `split`.

    Raises:
        DatasetError: there is nothing, or no such archive.
    """
    if location.is_dir():
        return _holder(location, split)
    if not location.is_file():
        raise DatasetError(
            f"There is no dataset at {location}. Say where it lies with --data, or see: training import --help"
        )
    stat = location.stat()
    key = hashlib.sha256(f"{location.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:16]
    folder = cache / "archives" / key
    if not folder.is_dir():
        staging = folder.with_name(f".unpacking-{key}")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        unpack(location, staging)
        staging.rename(folder)
    return _holder(folder, split)


def _holder(folder: Path, split: str) -> Path:
    entries = [entry for entry in folder.iterdir() if not _is_hidden(entry, folder)]
    deeper = len(entries) == 1 and entries[0].is_dir() and entries[0].name != split
    return _holder(entries[0], split) if deeper else folder


def _is_hidden(path: Path, below: Path) -> bool:
    parts = path.relative_to(below).parts
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)  # macOS adds the latter to archives


def _digest(image: Stored) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()


def _difference(expected: Sequence[str], found: Collection[str]) -> str:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    parts = [f"missing {', '.join(missing[:_SHOWN])}"] if missing else []
    parts += [f"not expected {', '.join(extra[:_SHOWN])}"] if extra else []
    return "; ".join(parts)
