"""Somebody's own photographs -> a dataset: checked, near duplicates found, a part held back to measure with.

    folder ──find──▶ files ──check, settle──▶ pictures ──group──▶ near duplicates ──divide──▶ train, test
                                     │                                       │
                                     no image, duplicate                     leaks, classes too small    ──▶ left out

Where the folder has splits of its own (`train` beside `test` or `valid`), they are taken as they are, and pictures to
learn from that look like one to measure with are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.console.progress import Track
from models.heads import Integers
from training.data import dataset as datasets
from training.data import near_duplicates as lookalikes
from training.data.dataset import Dataset, Split
from training.data.layout import CLASSES_FILE, ImageFile, detect_layout
from training.errors import DatasetError
from training.ingest.class_folders import Checked, check, resolve_duplicates, shown
from training.ingest.report import REJECTED_FILE, Rejected
from training.sampling import spread

_TEST_PARTS = 5
"""One of so many is held back."""
_SEED = 0
_ABOUT = (CLASSES_FILE, REJECTED_FILE)


@dataclass(frozen=True, eq=False)
class Photographs:
    """A dataset, which of its training images look alike, and what is not in it.

    Attributes:
        groups: int64 [training images], the number of the group of near duplicates that each is in.
        left_out: files that are not used, a line for each.
        notes: what else to know, a line each.
    """

    data: Dataset
    groups: Integers
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Picture:
    """A usable file, with what checking it has found."""

    file: ImageFile
    digest: str
    dhash: int


def gather(location: Path, cache: Path, track: Track) -> Photographs:
    """Read a folder or an archive of class folders.

    Raises:
        DatasetError: it has no class folders, or fewer than two classes with enough usable pictures.
    """
    layout = detect_layout(datasets.unpacked(location, "train", cache))
    checked = {item.file: item for item in check(layout.files, track)}
    kept, rejected = resolve_duplicates(list(checked.values()), layout.root)
    strays = (*layout.strays, *(path for path in layout.loose if path.name not in _ABOUT))
    rejected += [Rejected(shown(path, layout.root), "lies in no class folder") for path in strays]
    pictures = _sorted(kept, checked)
    groups = lookalikes.groups([picture.dhash for picture in pictures])
    divided = {picture.file.split for picture in pictures} - {"train"}
    if divided:
        stays = _without_leaks(pictures, groups, layout.root, rejected)
        pictures, groups = [pictures[i] for i in stays], groups[stays]
    pictures, groups, notes = _enough_of_each(pictures, groups, 2 if divided else 3)
    ids = tuple(sorted({picture.file.label for picture in pictures}))
    if len(ids) < 2:
        raise DatasetError(_too_small(location, ids, rejected, notes))
    split_of = _split_of(pictures, groups, ids)
    names = datasets.class_names(layout.root, ids, {})
    train, valid, test = (_split(pictures, split_of, name, ids) for name in ("train", "valid", "test"))
    assert train is not None
    lines = tuple(f"{item.path}: {item.reason}" for item in rejected)
    return Photographs(
        Dataset(layout.root, ids, names, train, test, valid, holds_out=False),
        groups[split_of == "train"],
        lines,
        (*notes, *_two_labels(pictures, groups, layout.root)),
    )


def _sorted(kept: Sequence[ImageFile], checked: dict[ImageFile, Checked]) -> list[_Picture]:
    """By class and path, whatever split they are in."""
    order = sorted(kept, key=lambda file: (file.label, file.path.parts))
    return [_Picture(file, checked[file].digest, checked[file].dhash) for file in order]


def _without_leaks(pictures: Sequence[_Picture], groups: Integers, root: Path, rejected: list[Rejected]) -> list[int]:
    """Indices of all but the training pictures that look like one to measure with; those are told."""
    grouped = list(zip(pictures, groups.tolist(), strict=True))
    measured = {group: picture.file for picture, group in grouped if picture.file.split != "train"}
    stays = []
    for index, (picture, group) in enumerate(grouped):
        if picture.file.split != "train" or group not in measured:
            stays.append(index)
        else:
            twin = shown(measured[group].path, root)
            rejected.append(Rejected(shown(picture.file.path, root), f"looks like {twin}, which it is measured with"))
    return stays


def _enough_of_each(
    pictures: list[_Picture], groups: Integers, fewest: int
) -> tuple[list[_Picture], Integers, list[str]]:
    """Only the classes that have `fewest` training pictures; where those look alike, they are parted all the same."""
    notes, groups = [], groups.copy()
    labels = np.array([picture.file.label for picture in pictures])
    training = np.array([picture.file.split == "train" for picture in pictures], dtype=bool)
    stays = np.ones(len(pictures), dtype=bool)
    for label in np.unique(labels):
        own = np.flatnonzero((labels == label) & training)
        _, led = np.unique(groups[training], return_index=True)
        distinct = np.count_nonzero(labels[training][led] == label)
        if len(own) < fewest:
            stays &= labels != label
            notes.append(f"{label}: left out, it has {len(own)} usable pictures to learn from and needs {fewest}")
        elif distinct < fewest:
            groups[own] = groups.max() + 1 + np.arange(len(own))
            notes.append(f"{label}: its {len(own)} pictures look alike, so what is measured on them is too good")
    return [pictures[i] for i in np.flatnonzero(stays)], groups[stays], notes


def _split_of(pictures: Sequence[_Picture], groups: Integers, ids: tuple[str, ...]) -> np.ndarray:
    """The split of each picture: its own, or where all are for training, one in five for testing."""
    given = np.array(["valid" if picture.file.split == "val" else picture.file.split for picture in pictures])
    if set(given) != {"train"}:
        return given
    labels = np.array([ids.index(picture.file.label) for picture in pictures])
    part_of = spread(labels, groups, _TEST_PARTS, np.random.default_rng(_SEED))
    return np.where(part_of == 0, "test", "train")


def _split(pictures: Sequence[_Picture], split_of: np.ndarray, name: str, ids: tuple[str, ...]) -> Split | None:
    chosen = [picture for picture, split in zip(pictures, split_of, strict=True) if split == name]
    if not chosen:
        return None
    labels = np.array([ids.index(picture.file.label) for picture in chosen], dtype=np.int64)
    return Split(tuple(picture.file.path for picture in chosen), labels, tuple(picture.digest for picture in chosen))


def _two_labels(pictures: Sequence[_Picture], groups: Integers, root: Path) -> list[str]:
    """A line for each group of near duplicates under several labels: people may have made a mistake there."""
    first: dict[int, _Picture] = {}
    told: dict[int, str] = {}
    for picture, group in zip(pictures, groups.tolist(), strict=True):
        leader = first.setdefault(group, picture)
        if leader.file.label != picture.file.label:
            one, other = shown(leader.file.path, root), shown(picture.file.path, root)
            told.setdefault(group, f"{one} and {other} look alike, under two labels; both are used")
    return list(told.values())


def _too_small(location: Path, ids: Sequence[str], rejected: Sequence[Rejected], notes: Sequence[str]) -> str:
    found = f"only {ids[0]!r}" if ids else "none"
    reasons = [*notes, *(f"{item.path}: {item.reason}" for item in rejected)]
    why = f" The first reason: {reasons[0]}." if reasons else ""
    return f"{location} has too few classes with usable pictures: {found}, two are needed, each a folder.{why}"
