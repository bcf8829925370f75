"""Which classes are confused: confusion matrix, scores by class, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.arrays import Floats, Integers


class ClassScores(NamedTuple):
    """Recall and precision of one class; None if there is no image, or no prediction, to measure it on."""

    name: str
    images: int
    recall: float | None
    precision: float | None


class ConfusedPair(NamedTuple):
    """A class, the class it was taken for, how many images were, and how many the true class has."""

    true_class: str
    predicted_class: str
    images: int
    class_images: int


class Mistake(NamedTuple):
    """A wrong prediction: indices of the image and of both classes, and the probability of the predicted class."""

    image: int
    true_class: int
    predicted_class: int
    probability: float


def confusion_matrix(probabilities: Floats, labels: Integers) -> Integers:
    """Return the number of images by true class (rows) and predicted class (columns): int64 [classes, classes]."""
    from sklearn import metrics

    predicted, classes = probabilities.argmax(axis=1), range(probabilities.shape[1])
    matrix: Integers = metrics.confusion_matrix(labels, predicted, labels=classes)
    return matrix


def class_scores(confusion: Integers, names: Sequence[str]) -> list[ClassScores]:
    """Return recall and precision of each class."""
    correct, images, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return [
        ClassScores(name, int(images[i]), _share(correct[i], images[i]), _share(correct[i], predicted[i]))
        for i, name in enumerate(names)
    ]


def most_confused_pairs(confusion: Integers, names: Sequence[str], count: int) -> list[ConfusedPair]:
    """Return up to `count` pairs of classes, those with the most confused images first."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [np.unravel_index(cell, wrong.shape) for cell in order]
    return [
        ConfusedPair(names[true], names[predicted], int(wrong[true, predicted]), int(confusion[true].sum()))
        for true, predicted in pairs
        if wrong[true, predicted]
    ]


def most_confident_mistakes(probabilities: Floats, labels: Integers, count: int) -> list[Mistake]:
    """Return up to `count` wrong predictions, the most confident first."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    most_confident = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [Mistake(int(i), int(labels[i]), int(predicted[i]), float(confidence[i])) for i in most_confident]


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
