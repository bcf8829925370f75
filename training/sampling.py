"""Random samples of images, stratified by class or group and reproducible by their seed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.arrays import Integers


def sample_per_class(labels: Integers, share: float, random: np.random.Generator) -> Integers:
    """Return sorted indices of a share of each class: at least one image, but never all images of a class."""
    return sample_per_group((np.flatnonzero(labels == label) for label in np.unique(labels)), share, random)


def sample_per_group(groups: Iterable[Integers], share: float, random: np.random.Generator) -> Integers:
    """Do the same for groups given by the indices of their members; their order determines the random draws."""
    samples = [random.permutation(group)[: min(max(1, round(len(group) * share)), len(group) - 1)] for group in groups]
    return np.sort(np.concatenate(samples)).astype(np.int64)


def sample_whole_groups(labels: Integers, groups: Integers, share: float, random: np.random.Generator) -> Integers:
    """Return the same for each class, but sample groups, such as near duplicates, whole or not at all.

    Args:
        labels: int64 [images], class indices.
        groups: int64 [images], group numbers; a group counts for the class of its first image.
        share: of the groups of each class.
        random: draws the groups.
    """
    numbers, first = np.unique(groups, return_index=True)
    return np.flatnonzero(np.isin(groups, numbers[sample_per_class(labels[first], share, random)]))


def assign_folds(labels: Integers, groups: Integers, folds: int, random: np.random.Generator) -> Integers:
    """Assign each image to a fold, 0 to `folds` - 1: groups stay whole, and each class is spread evenly.

    A class with fewer groups than folds uses only the first folds. So every class is in fold 0, and a class with at
    least two groups is in another fold too.

    Args:
        labels: int64 [images], class indices.
        groups: int64 [images], group numbers; a group with several classes counts for the class of its first image.
        folds: number of folds.
        random: draws the order of groups of the same size.

    Returns:
        int64 [images].
    """
    _, first, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    fold_of = np.zeros(len(first), np.int64)
    for label in np.unique(labels[first]):
        members = random.permutation(np.flatnonzero(labels[first] == label))
        images = np.zeros(min(folds, len(members)), np.int64)
        # Placing the largest groups first balances the folds best.
        for group in members[np.argsort(-sizes[members], kind="stable")]:
            fold = len(images) - 1 - int(np.argmin(images[::-1]))
            fold_of[group] = fold
            images[fold] += sizes[group]
    return fold_of[group_of]
