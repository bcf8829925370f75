"""Import of a user's own class folders: files are checked, near duplicates grouped, test images held out.

    folder ──find──▶ files ──check, resolve duplicates──▶ images ──group──▶ near duplicates ──split──▶ train, test
                                     │                                            │
                                     not an image, duplicate                      leaks, classes too small ──▶ left out

If the folder has its own splits (`train` with `test` or `valid`), they are kept, and training images that look like
one of the test or validation images are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.arrays import Integers, Pixels
from models.console.progress import Track
from training.data.archives import locate_root
from training.data.dataset import Dataset, read_class_names
from training.data.layout import ImageFile, Layout, detect_layout
from training.data.near_duplicates import group_images
from training.data.split import Split
from training.errors import DatasetError
from training.ingest.class_folders import CheckedFile, check_files, rejected_entries, resolve_duplicates
from training.ingest.report import RejectedFile
from training.runtime.names import printable_path
from training.sampling import assign_folds

#: Folds of which one becomes the test set: a fifth of the images, as in five-fold cross-validation.
_TEST_FOLDS = 5
#: Fixed, so that the same images give the same test set.
_SEED = 0
#: Images that a class needs: one to fit on and one for cross-validation, and one to test on if there is no test set.
_MIN_TRAINING_IMAGES = 2
_MIN_IMAGES_TO_SPLIT = 3


@dataclass(frozen=True, eq=False)
class PhotoFolder:
    """A dataset made of a user's folder.

    Attributes:
        groups: int64 [training images], number of the group of near duplicates that each image belongs to.
        group_of: the same for all images, by digest.
        left_out: folders and files that are not used, one line each.
        notes: remarks on the dataset, one line each.
    """

    dataset: Dataset
    groups: Integers
    group_of: Mapping[str, int]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Image:
    """A usable file with its SHA-256 and its thumbnail."""

    file: ImageFile
    digest: str
    thumbnail: Pixels


def read_photo_folder(location: Path, cache: Path, track: Track) -> PhotoFolder:
    """Read a folder or an archive of class folders.

    Raises:
        DatasetError: there are no class folders, or fewer than two classes with enough usable images.
    """
    layout = detect_layout(locate_root(location, "train", cache))
    checked = {item.file: item for item in check_files(layout.files, track)}
    kept, rejected = resolve_duplicates(list(checked.values()), layout.root)
    images = _sorted(kept, checked)
    groups = group_images([image.thumbnail for image in images])
    has_splits = any(image.file.split != "train" for image in images)
    if has_splits:
        indices, leaks = _without_leaks(images, groups, layout.root)
        images, groups = [images[i] for i in indices], groups[indices]
        rejected += leaks
    images, groups, notes = _drop_small_classes(
        images, groups, _MIN_TRAINING_IMAGES if has_splits else _MIN_IMAGES_TO_SPLIT
    )
    class_ids = tuple(sorted({image.file.label for image in images}))
    if len(class_ids) < 2:
        raise DatasetError(_too_few_classes(location, class_ids, [*rejected, *_unused(layout, kept)], notes))
    split_of = _split_of(images, groups, class_ids)
    class_names = read_class_names(layout.root, class_ids, {})
    train, valid, test = (_make_split(images, split_of, name, class_ids) for name in ("train", "valid", "test"))
    assert train is not None
    return PhotoFolder(
        Dataset(layout.root, class_ids, class_names, train, test, valid, has_holdout=False),
        groups[split_of == "train"],
        {image.digest: group for image, group in zip(images, groups.tolist(), strict=True)},
        tuple(f"{item.path}: {item.reason}" for item in [*_unused(layout, kept), *rejected]),
        (*notes, *_conflicting_labels(images, groups, layout.root)),
    )


def _unused(layout: Layout, kept: Sequence[ImageFile]) -> list[RejectedFile]:
    """Return what is not used and is no file of a class: links, empty folders, loose files, classes without images."""
    without_images = [
        RejectedFile(printable_path(file.folder, layout.root), "is a class folder without usable images")
        for file in layout.unusable_folders(kept)
    ]
    return [*rejected_entries([*layout.unused, *layout.loose], layout.root), *without_images]


def _sorted(kept: Sequence[ImageFile], checked: dict[ImageFile, CheckedFile]) -> list[_Image]:
    """Sort images by class and path, independent of their split."""
    order = sorted(kept, key=lambda file: (file.label, file.path.parts))
    return [_Image(file, checked[file].digest, checked[file].thumbnail) for file in order]


def _without_leaks(images: Sequence[_Image], groups: Integers, root: Path) -> tuple[list[int], list[RejectedFile]]:
    """Reject training images that look like a test or validation image; return the indices of the others."""
    grouped = list(zip(images, groups.tolist(), strict=True))
    measured = {group: image.file for image, group in grouped if image.file.split != "train"}
    indices, leaks = [], []
    for index, (image, group) in enumerate(grouped):
        if image.file.split != "train" or group not in measured:
            indices.append(index)
        else:
            twin = measured[group]
            reason = f"looks like {printable_path(twin.path, root)} in the {twin.split} split"
            leaks.append(RejectedFile(printable_path(image.file.path, root), reason))
    return indices, leaks


def _drop_small_classes(
    images: list[_Image], groups: Integers, min_images: int
) -> tuple[list[_Image], Integers, list[str]]:
    """Drop classes with fewer than `min_images` training images, and note each of them.

    If a class has enough images but too few groups of near duplicates to split, its images get a group each.
    """
    notes, groups = [], groups.copy()
    labels = np.array([image.file.label for image in images])
    is_train = np.array([image.file.split == "train" for image in images], dtype=bool)
    keep = np.ones(len(images), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero((labels == label) & is_train)
        # A group counts for the class of its first image, as in `assign_folds`.
        _, first = np.unique(groups[is_train], return_index=True)
        group_count = np.count_nonzero(labels[is_train][first] == label)
        if len(members) < min_images:
            keep &= labels != label
            notes.append(
                f"class {label} is left out: it has {len(members)} usable training images and needs {min_images}"
            )
        elif group_count < min_images:
            groups[members] = groups.max() + 1 + np.arange(len(members))
            notes.append(f"class {label}: its {len(members)} images look alike, so its measured accuracy is too high")
    return [images[i] for i in np.flatnonzero(keep)], groups[keep], notes


def _split_of(images: Sequence[_Image], groups: Integers, class_ids: tuple[str, ...]) -> np.ndarray:
    """Return the split of each image: the folder's own, or, if all are for training, test for one in five."""
    own_splits = np.array([image.file.split for image in images])
    if set(own_splits) != {"train"}:
        return own_splits
    labels = np.array([class_ids.index(image.file.label) for image in images])
    fold_of = assign_folds(labels, groups, _TEST_FOLDS, np.random.default_rng(_SEED))
    return np.where(fold_of == 0, "test", "train")


def _make_split(images: Sequence[_Image], split_of: np.ndarray, name: str, class_ids: tuple[str, ...]) -> Split | None:
    members = [image for image, split in zip(images, split_of, strict=True) if split == name]
    if not members:
        return None
    labels = np.array([class_ids.index(image.file.label) for image in members], dtype=np.int64)
    return Split(tuple(image.file.path for image in members), labels, tuple(image.digest for image in members))


def _conflicting_labels(images: Sequence[_Image], groups: Integers, root: Path) -> list[str]:
    """Note each group of near duplicates with several labels, since one of the labels may be wrong."""
    first_of: dict[int, _Image] = {}
    notes: dict[int, str] = {}
    for image, group in zip(images, groups.tolist(), strict=True):
        first = first_of.setdefault(group, image)
        if first.file.label != image.file.label:
            paths = f"{printable_path(first.file.path, root)} and {printable_path(image.file.path, root)}"
            notes.setdefault(group, f"{paths} look alike but have different labels; both are used")
    return list(notes.values())


def _too_few_classes(
    location: Path, class_ids: Sequence[str], rejected: Sequence[RejectedFile], notes: Sequence[str]
) -> str:
    usable = f"only {class_ids[0]!r}" if class_ids else "none"
    reasons = [*notes, *(f"{item.path}: {item.reason}" for item in rejected)]
    first_reason = f" First problem: {reasons[0]}." if reasons else ""
    return f"{location} needs at least two class folders with enough usable images, but has {usable}.{first_reason}"
