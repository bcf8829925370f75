"""Confusion matrix, class scores and mistakes, on predictions that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation import confusion, metrics
from training.evaluation.confusion import ClassScores, ConfusedPair

NAMES = ("ant", "bee", "cat", "dog")
LABELS = np.array([0, 0, 0, 1, 1, 2])
#: Two ants are correct, one is taken for a bee; one bee is correct, one is taken for a cat; the cat is taken for a bee;
#: there are no dogs.
PROBABILITIES = np.array(
    [[0.9, 0.1, 0, 0], [0.5, 0.3, 0.2, 0], [0.2, 0.8, 0, 0], [0, 1, 0, 0], [0, 0.1, 0.9, 0], [0, 0.6, 0.4, 0]],
    np.float32,
)


def test_confusion_matrix_counts_predictions_by_true_class() -> None:
    matrix = confusion.confusion_matrix(PROBABILITIES, LABELS)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_recall_and_precision_are_none_without_images_or_predictions() -> None:
    scores = confusion.class_scores(confusion.confusion_matrix(PROBABILITIES, LABELS), NAMES)
    assert scores == [
        ClassScores("ant", 3, 2 / 3, 1.0),
        ClassScores("bee", 2, 0.5, 1 / 3),
        ClassScores("cat", 1, 0.0, 0.0),
        ClassScores("dog", 0, None, None),
    ]


def test_most_confused_pairs_come_first() -> None:
    matrix = np.array([[5, 1, 0], [4, 3, 2], [0, 0, 9]])
    pairs = confusion.most_confused_pairs(matrix, NAMES[:3], 2)
    assert pairs == [ConfusedPair("bee", "ant", 4, 9), ConfusedPair("bee", "cat", 2, 9)]
    assert confusion.most_confused_pairs(np.diag([3, 4]), NAMES[:2], 5) == []


def test_most_confident_mistakes_come_first() -> None:
    mistakes = confusion.most_confident_mistakes(PROBABILITIES, LABELS, 2)
    assert [(item.image, item.true_class, item.predicted_class) for item in mistakes] == [(4, 1, 2), (2, 0, 1)]
    assert [mistake.probability for mistake in mistakes] == pytest.approx([0.9, 0.8])
    assert len(confusion.most_confident_mistakes(PROBABILITIES, LABELS, 99)) == 3


def test_reliability_bins_contain_each_image_once_and_give_the_ece() -> None:
    bins = metrics.reliability_bins(PROBABILITIES, LABELS, bins=2)
    assert [item.images for item in bins] == [6], (
        "all confidences are 0.5 or more, in the upper half; the lower bin is empty"
    )
    assert bins[0].confidence == pytest.approx(np.mean([0.9, 0.5, 0.8, 1, 0.9, 0.6]))
    assert bins[0].accuracy == 0.5
    many = metrics.reliability_bins(PROBABILITIES, LABELS)
    assert sum(item.images for item in many) == 6
    expected = sum(item.images * abs(item.confidence - item.accuracy) for item in many) / 6
    assert metrics.expected_calibration_error(PROBABILITIES, LABELS) == pytest.approx(expected)
