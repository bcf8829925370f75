"""Labelled datasets: `ROOT/SPLIT/CLASS/FILE`, TFRecord shards in `ROOT/SPLIT`, or an archive of such a folder.

Only paths, labels and digests are kept in memory; images are read when they are needed.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from training.data.archives import locate_root
from training.data.class_folder import UnusedEntry, first_damaged
from training.data.layout import CLASSES_FILE, DESCRIPTIONS, entries, find_split, is_description, read_class_folders
from training.data.split import Split, StoredImage, make_split
from training.data.unpacking.damaged import why_damaged
from training.errors import DatasetError
from training.recipes.data import DatasetSpec
from training.runtime.folders import CACHE_FOLDER, DATA_FOLDER
from training.runtime.names import normalized, printable_path

#: Classes named in an error message.
_MAX_CLASSES_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training split and optional test and validation splits over the same classes.

    Attributes:
        class_ids: names of the class folders, in the order of the labels.
        class_names: plain names of the classes, in the same order.
        has_holdout: True if the fixed 5 % of the training split is held out from fitting.
        left_out: entries of its folder that are not used, one line each.
    """

    root: Path
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    train: Split
    test: Split | None
    valid: Split | None = None
    has_holdout: bool = True
    left_out: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """Its splits, for what treats all of their images alike; `training.partition` decides who may use which."""
        named = {"training images": self.train, "validation set": self.valid, "test set": self.test}
        return {name: split for name, split in named.items() if split is not None}

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
    *,
    labelled: bool = True,
) -> Dataset:
    """Open a dataset.

    Args:
        spec: the recipe's description of the dataset and its splits.
        location: a folder or an archive; None means `spec.path` below the data folder.
        class_ids: order of the class folders; empty means sorted by name.
        cache: where archives are unpacked.
        digests: known digests of images; missing ones are computed and added.
        labelled: False if the folders need not be classes, see `read_split`.

    Raises:
        DatasetError: there is no dataset at the location, or it has no class folders with images.
    """
    root = locate_root(location or DATA_FOLDER / spec.path, spec.train, cache)
    train = read_split(find_split(root, spec.train), labelled=labelled)
    order = tuple(map(normalized, class_ids)) or tuple(sorted(train.classes))
    if set(order) != set(train.classes):
        raise DatasetError(
            f"{train.folder} has other classes than the recipe: {_difference(order, train.classes)}."
            f"{first_damaged(train.unused)}"
        )
    test, valid = (
        read_split(find_split(root, name), labelled=labelled) if name else None for name in (spec.test, spec.valid)
    )
    contents = [content for content in (train, test, valid) if content is not None]
    return Dataset(
        root,
        order,
        read_class_names(root, order, spec.names),
        make_split(train.classes, order, digests),
        _measured_split(test, order, digests),
        _measured_split(valid, order, digests),
        left_out=_left_out(root, contents),
    )


@dataclass(frozen=True)
class SplitContent:
    """The images of a split by class, and the entries of its folder that are not used."""

    folder: Path
    classes: Mapping[str, Sequence[StoredImage]]
    unused: tuple[UnusedEntry, ...]

    def left_out(self, root: Path) -> list[str]:
        """Return one line for each entry that is not used, with its path relative to `root`."""
        return [f"{printable_path(entry.path, root)}: {entry.reason}" for entry in self.unused]


def _left_out(root: Path, contents: Sequence[SplitContent]) -> tuple[str, ...]:
    """Return a line for each entry that is not used, in the splits of a dataset and beside them."""
    used = {path for content in contents for path in (content.folder, *content.folder.parents)}
    beside = [
        f"{printable_path(entry, root)}: {why_damaged(entry) or 'is not in a split of the recipe'}"
        for entry in entries(root)
        if entry not in used and not is_description(entry) and all(content.folder != root for content in contents)
    ]
    return (*beside, *(line for content in contents for line in content.left_out(root)))


def damaged_descriptions(root: Path) -> list[str]:
    """Return a line for each file that would describe a dataset, but was damaged in its archive."""
    reasons = {name: why_damaged(root / name) for name in DESCRIPTIONS}
    return [f"{name}: {reason}" for name, reason in reasons.items() if reason]


def _measured_split(
    content: SplitContent | None, order: Sequence[str], digests: dict[StoredImage, str] | None
) -> Split | None:
    """Label a test or validation split, which may lack some of the classes but has no others."""
    if content is None:
        return None
    if not set(content.classes) <= set(order):
        extra = ", ".join(sorted(set(content.classes) - set(order))[:_MAX_CLASSES_SHOWN])
        raise DatasetError(f"{content.folder} has classes without training images: {extra}.")
    return make_split(content.classes, order, digests)


def read_class_names(root: Path, class_ids: Sequence[str], overrides: Mapping[str, str]) -> tuple[str, ...]:
    """Return the plain names of classes: from `overrides`, else the first name in classes.tsv, else the folder's.

    Raises:
        DatasetError: two classes would have the same name, or classes.tsv cannot be read.
    """
    names = {normalized(key): name for key, name in overrides.items()}
    for key, *synonyms in _read_table(root / CLASSES_FILE):
        names.setdefault(normalized(key), "".join(synonyms[:1]).partition(",")[0].strip())
    plain = tuple(normalized(names.get(key) or key) for key in map(normalized, class_ids))
    duplicates = {name for name in plain if plain.count(name) > 1}
    if duplicates:
        raise DatasetError(
            f"Two classes are named {min(duplicates)!r}. Give them different names in the recipe's data.names."
        )
    return plain


def _read_table(table: Path) -> list[list[str]]:
    """Return the rows of a table with tabs, which may begin with a byte-order mark; none if there is no such file."""
    if not table.is_file():
        return []
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            return list(filter(None, csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{table} cannot be read ({error}). Save it as UTF-8, with tabs between columns.") from error


def images_by_class(folder: Path) -> Mapping[str, Sequence[StoredImage]]:
    """Return the images of a split by class, sorted; see `read_split`."""
    return read_split(folder).classes


def read_split(split: Path, *, labelled: bool = True) -> SplitContent:
    """Read a split: files of class folders, or records of TFRecord shards.

    Metadata of file managers is ignored. Class folders with the same normalized name are one class.

    Args:
        split: the folder.
        labelled: False if folders need not be classes: they may contain anything, and without folders, the files of the
            split are its images.

    Raises:
        DatasetError: the folder does not exist or has no images, or its folders are no classes.
    """
    if not split.is_dir():
        raise DatasetError(
            f"There is no folder {split}. A dataset has one folder for each split, with one for each class."
        )
    shards = [entry for entry in entries(split) if _is_shard(entry)]
    if shards:
        from training.data.tfrecords import records_by_class  # imports TensorFlow

        beside = [
            UnusedEntry(entry, why_damaged(entry) or "is beside TFRecord shards")
            for entry in entries(split)
            if entry not in shards
        ]
        return SplitContent(split, records_by_class(shards), tuple(beside))
    found, unused = read_class_folders(split, labelled=labelled)
    classes: dict[str, list[Path]] = {}
    for folder in sorted(found, key=lambda folder: folder.label):
        classes.setdefault(folder.label, []).extend(sorted(folder.files))
    if not classes:
        raise DatasetError(
            f"{split} holds no folders of images. It needs one folder for each class.{first_damaged(unused)}"
        )
    return SplitContent(split, classes, tuple(unused))


def _is_shard(entry: Path) -> bool:
    return entry.match("*.tfrecord*") and not entry.is_dir() and not why_damaged(entry)


def _difference(expected: Sequence[str], actual: Collection[str]) -> str:
    missing, extra = sorted(set(expected) - set(actual)), sorted(set(actual) - set(expected))
    parts = [f"missing {', '.join(missing[:_MAX_CLASSES_SHOWN])}"] if missing else []
    parts += [f"not expected {', '.join(extra[:_MAX_CLASSES_SHOWN])}"] if extra else []
    return "; ".join(parts)
