"""Coarser classes above the classes of a classifier: `Labrador retriever` is a `dog`, and a `dog` is an `animal`.

The probability of a coarser class is the sum of those of all classes below it, so an image of a dog whose breed is
uncertain is still a `dog` with certainty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from models.arrays import Floats

SURE = 0.5
"""Probability from which on a class or a coarser class counts as the answer. Of two that exclude each other, only one
can exceed it."""

MAX_LEVELS = 16
"""Maximum number of coarser classes above a class. It bounds the time that a damaged or hostile manifest can take."""

Parent = tuple[str, float]
"""Label of a coarser class, and its probability."""


def lead(best: tuple[str, float], parents: Sequence[Parent]) -> Parent:
    """Return the most specific label that is sure, with its probability: a class, else a coarser class.

    If nothing is sure, it is the most likely class.

    Args:
        best: the most likely class, and its probability.
        parents: as `Hierarchy.answer` returns them.
    """
    return next((each for each in (best, *parents) if each[1] >= SURE), best)


class Hierarchy:
    """The tree of coarser classes above the classes of a classifier."""

    def __init__(self, classes: Sequence[str], parents: Mapping[str, str]) -> None:
        """Prepare the sums.

        Args:
            classes: of the classifier, in the order of its probabilities.
            parents: class or coarser class -> the coarser class directly above it. Classes may be missing.

        Raises:
            ValueError: a class is above another one, a label has no class below it, labels are above each other in a
                circle, or more than `MAX_LEVELS` are above a class.
        """
        self._classes, self._parents = tuple(classes), dict(parents)
        self._chains = [self._above(label) for label in classes]
        self._sizes = Counter(label for chain in self._chains for label in chain)  # classes below each label
        self._labels = list(self._sizes)
        _check(classes, parents, self._labels)
        positions = {label: position for position, label in enumerate(self._labels)}
        pairs = [(index, positions[label]) for index, chain in enumerate(self._chains) for label in chain]
        self._class_indices, self._sums = np.array(pairs, dtype=np.int64).reshape(-1, 2).T

    def below(self, label: str) -> list[int]:
        """Return the indices of the classes below a coarser class; of a class, its own; empty if there are none."""
        chains = zip(self._classes, self._chains, strict=True)
        return [index for index, (name, chain) in enumerate(chains) if label in (name, *chain)]

    def scores(self, probabilities: Floats) -> dict[str, float]:
        """Return the probability of each coarser class: the sum over the classes below it, at most 1.

        No coarser class has a lower probability than one below it: each sum has the terms of the finer sum, in the same
        order, and others.

        Args:
            probabilities: float32 [classes].
        """
        sums = np.bincount(self._sums, probabilities[self._class_indices], minlength=len(self._labels))
        return dict(zip(self._labels, np.minimum(sums, 1.0).tolist(), strict=True))

    def answer(self, probabilities: Floats) -> list[Parent]:
        """Return the coarser classes that answer what an image shows, from the finest to the coarsest.

        They begin with the finest one that is sure: the one with the fewest classes below it among those with a
        probability of at least `SURE`. If a class itself is sure, they are those above it; if nothing is sure, those
        above the most likely class.

        Args:
            probabilities: float32 [classes].
        """
        best = int(probabilities.argmax())
        chain, scores = self._chains[best], self.scores(probabilities)
        sure = [label for label, score in scores.items() if score >= SURE]
        if sure and probabilities[best] < SURE:
            finest = min(sure, key=self._sizes.__getitem__)  # of equal ones the first, which is below the others
            chain = (finest, *self._above(finest))
        return [(label, scores[label]) for label in chain]

    def _above(self, label: str) -> tuple[str, ...]:
        """Return the labels above a label, from the finest to the coarsest; raises ValueError if there is no end."""
        start, chain = label, list[str]()
        while label in self._parents:
            label = self._parents[label]
            if label in chain:
                raise ValueError(f"{label!r} is above itself: {' < '.join([*chain, label])}")
            if len(chain) == MAX_LEVELS:
                raise ValueError(f"{start!r} has more than {MAX_LEVELS} coarser classes above it")
            chain.append(label)
        return tuple(chain)


def _check(classes: Sequence[str], parents: Mapping[str, str], labels: Sequence[str]) -> None:
    """Raise ValueError for a class that is above another one, and for a label without a class below it."""
    known = set(classes)
    above = sorted(known.intersection(parents.values()))
    if above:
        raise ValueError(f"{above[0]!r} is a class, and cannot be above other classes")
    unused = sorted(parents.keys() - known - set(labels))
    if unused:
        raise ValueError(f"{unused[0]!r} is neither a class nor above one")
