"""One split of a dataset: its images, labels and digests, and the fixed share of it that is held out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from models.arrays import Integers
from models.offline.loader import Readable
from training.sampling import sample_per_group

#: Share of the training images that calibrates and measures, and is not fitted on.
HOLDOUT_SHARE = 0.05
#: Never change it: shipped models were fitted without exactly these images.
_HOLDOUT_SEED = 20_151_211


class StoredImage(Readable, Protocol):
    """An image on disk: a file, or a record of a TFRecord shard."""

    @property
    def name(self) -> str:
        """Return the file's name."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the parts of the path; images are sorted by them."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one split, sorted by class and path.

    Attributes:
        images: where each image is stored.
        labels: int64 [images], class indices.
        digests: SHA-256 of each image's bytes, in hexadecimal.
    """

    images: tuple[StoredImage, ...]
    labels: Integers
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the images and their division into classes, whatever the classes and files are called."""
        classes = [
            hashlib.sha256("\n".join(sorted(self.digests[i] for i in np.flatnonzero(self.labels == label))).encode())
            for label in np.unique(self.labels)
        ]
        return hashlib.sha256("\n".join(sorted(each.hexdigest() for each in classes)).encode()).hexdigest()

    def take(self, indices: Integers) -> Split:
        """Return the images at `indices`, in that order."""
        return Split(
            tuple(self.images[i] for i in indices),
            self.labels[indices],
            tuple(self.digests[i] for i in indices),
        )

    def joined_with(self, other: Split) -> Split:
        """Return the images of both splits, this one's first."""
        labels = np.concatenate([self.labels, other.labels])
        return Split(self.images + other.images, labels, self.digests + other.digests)


def make_split(
    classes: Mapping[str, Sequence[StoredImage]], order: Sequence[str], digests: dict[StoredImage, str] | None = None
) -> Split:
    """Label images with the position of their class in `order`; some classes may have none.

    Args:
        classes: images by class.
        order: of the classes.
        digests: known digests of images; missing ones are computed and added.
    """
    images = [image for key in order for image in classes.get(key, [])]
    labels = [label for label, key in enumerate(order) for _ in classes.get(key, [])]
    digests = {} if digests is None else digests
    new_images = [image for image in images if image not in digests]
    with ThreadPoolExecutor() as pool:
        digests.update(zip(new_images, pool.map(_digest, new_images, chunksize=256), strict=True))
    return Split(tuple(images), np.array(labels, dtype=np.int64), tuple(digests[image] for image in images))


def holdout_indices(split: Split) -> Integers:
    """Return the indices of the fixed 5 % of a training split that is held out; the same images in every run.

    At least one image of each class that has two. Classes are drawn from in the order of their folders' names,
    whatever order the recipe gives them, so that no recipe fits on images that another one holds out.
    """
    classes = [np.flatnonzero(split.labels == label) for label in np.unique(split.labels)]
    by_folder = sorted(classes, key=lambda indices: split.images[indices[0]].parts)
    return sample_per_group(by_folder, HOLDOUT_SHARE, np.random.default_rng(_HOLDOUT_SEED))


def _digest(image: StoredImage) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()
