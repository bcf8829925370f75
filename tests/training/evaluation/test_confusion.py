"""Where answers are right and wrong, on answers that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from training.evaluation import confusion as breakdown
from training.evaluation import metrics
from training.evaluation.confusion import ClassFigures, Confusion

NAMES = ("ant", "bee", "cat", "dog")
LABELS = np.array([0, 0, 0, 1, 1, 2])
#: Two ants right, one taken for a bee; a bee right, one taken for a cat; the cat for a bee; dogs are not there.
ANSWERS = np.array(
    [[0.9, 0.1, 0, 0], [0.5, 0.3, 0.2, 0], [0.2, 0.8, 0, 0], [0, 1, 0, 0], [0, 0.1, 0.9, 0], [0, 0.6, 0.4, 0]],
    np.float32,
)


def test_the_confusion_matrix_counts_answers_by_what_is_right() -> None:
    found = breakdown.confusion_matrix(ANSWERS, LABELS)
    assert found.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_recall_and_precision_are_left_out_where_there_is_nothing_to_measure() -> None:
    found = breakdown.by_class(breakdown.confusion_matrix(ANSWERS, LABELS), NAMES)
    assert found == [
        ClassFigures("ant", 3, 2 / 3, 1.0),
        ClassFigures("bee", 2, 0.5, 1 / 3),
        ClassFigures("cat", 1, 0.0, 0.0),
        ClassFigures("dog", 0, None, None),
    ]


def test_the_most_frequent_confusions_come_first() -> None:
    confusion = np.array([[5, 1, 0], [4, 3, 2], [0, 0, 9]])
    found = breakdown.confusions(confusion, NAMES[:3], 2)
    assert found == [Confusion("bee", "ant", 4, 9), Confusion("bee", "cat", 2, 9)]
    assert breakdown.confusions(np.diag([3, 4]), NAMES[:2], 5) == []


def test_the_surest_mistakes_are_the_worst() -> None:
    found = breakdown.worst_mistakes(ANSWERS, LABELS, 2)
    assert [(each.image, each.right, each.answered) for each in found] == [(4, 1, 2), (2, 0, 1)]
    assert [each.probability for each in found] == pytest.approx([0.9, 0.8])
    assert len(breakdown.worst_mistakes(ANSWERS, LABELS, 99)) == 3


def test_the_bins_of_certainty_hold_every_answer_once_and_give_the_calibration_error() -> None:
    bins = metrics.reliability(ANSWERS, LABELS, bins=2)
    assert [each.images for each in bins] == [6], "0.5 and above is the upper half; the lower holds none"
    assert bins[0].confidence == pytest.approx(np.mean([0.9, 0.5, 0.8, 1, 0.9, 0.6]))
    assert bins[0].accuracy == 0.5
    many = metrics.reliability(ANSWERS, LABELS)
    assert sum(each.images for each in many) == 6
    expected = sum(each.images * abs(each.confidence - each.accuracy) for each in many) / 6
    assert metrics.expected_calibration_error(ANSWERS, LABELS) == pytest.approx(expected)
