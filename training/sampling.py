"""Images drawn from each class by chance, the same ones for the same seed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.heads import Integers


def share_of_each(labels: Integers, share: float, random: np.random.Generator) -> Integers:
    """Indices of a share of each class, sorted: one image at least, but never the last of a class."""
    return share_of_groups((np.flatnonzero(labels == label) for label in np.unique(labels)), share, random)


def share_of_groups(groups: Iterable[Integers], share: float, random: np.random.Generator) -> Integers:
    """The same of groups that are given by the indices of their members, gone through in this order."""
    chosen = [random.permutation(group)[: min(max(1, round(len(group) * share)), len(group) - 1)] for group in groups]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def spread(labels: Integers, groups: Integers, parts: int, random: np.random.Generator) -> Integers:
    """A part for each image, 0 to `parts` - 1: groups stay whole, each class is spread as evenly as its groups allow.

    A class with fewer groups than there are parts is in the first of them; so every class is in part 0, and one with
    two groups is also elsewhere.

    Args:
        labels: [images].
        groups: [images]; one of several classes counts for that of its first image.
        parts: how many.
        random: draws the order of groups of the same size.
    """
    _, first, group_of, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    part_of = np.zeros(len(first), np.int64)
    for label in np.unique(labels[first]):
        members = random.permutation(np.flatnonzero(labels[first] == label))
        images = np.zeros(min(parts, len(members)), np.int64)
        for group in members[np.argsort(-sizes[members], kind="stable")]:  # the largest first: they fit best so
            part = len(images) - 1 - int(np.argmin(images[::-1]))
            part_of[group] = part
            images[part] += sizes[group]
    return part_of[group_of]
