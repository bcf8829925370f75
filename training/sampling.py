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
