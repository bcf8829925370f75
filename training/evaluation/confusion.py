"""Where a set of answers is right and where wrong: by class, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.heads import Floats, Integers


class ClassFigures(NamedTuple):
    """One class: its images, the share of them that is found, and how often its name is right when it is given."""

    name: str
    images: int
    recall: float | None
    precision: float | None


class Confusion(NamedTuple):
    """So many images of a class were taken for another."""

    right: str
    answered: str
    images: int
    of: int


class Mistake(NamedTuple):
    """A wrong answer: the index of its image, and how sure it was."""

    image: int
    right: int
    answered: int
    probability: float


def confusion_matrix(probabilities: Floats, labels: Integers) -> Integers:
    """int64 [classes, classes]: images of each class (rows) by the class that was answered (columns)."""
    classes = probabilities.shape[1]
    cells = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def by_class(confusion: Integers, names: Sequence[str]) -> list[ClassFigures]:
    """Recall and precision of each class; None where there is no image, or no answer, to measure it on."""
    right, images, answered = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassFigures(name, int(images[i]), _share(right[i], images[i]), _share(right[i], answered[i]))
        for i, name in enumerate(names)
    ]


def confusions(confusion: Integers, names: Sequence[str], count: int) -> list[Confusion]:
    """The most frequent confusions, those of most images first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [np.unravel_index(cell, wrong.shape) for cell in order]
    return [
        Confusion(names[right], names[answered], int(wrong[right, answered]), int(confusion[right].sum()))
        for right, answered in pairs
        if wrong[right, answered]
    ]


def worst_mistakes(probabilities: Floats, labels: Integers, count: int) -> list[Mistake]:
    """The wrong answers that were given with most certainty, the surest first."""
    answered, certainty = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(answered != labels)
    surest = wrong[np.argsort(-certainty[wrong], kind="stable")][:count]
    return [Mistake(int(i), int(labels[i]), int(answered[i]), float(certainty[i])) for i in surest]


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
