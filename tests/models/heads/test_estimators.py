"""Estimators in NumPy: the softmax of a top, dense layers, logistic regression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models.arrays import Floats
from models.heads import DenseLayers, TopSoftmax, linear_softmax, top_softmax
from tests.support.clusters import examples


def ones(*shape: int) -> Floats:
    return np.ones(shape, np.float32)


def test_top_softmax_reorders_columns() -> None:
    estimator = top_softmax(["n3", "n1", "n2"], ["n1", "n2", "n3"])
    assert np.allclose(estimator.predict_proba(np.array([[0.5, 0.2, 0.3]], np.float32)), [[0.2, 0.3, 0.5]])


def test_unknown_class_of_a_top_is_an_error() -> None:
    with pytest.raises(ValueError, match="n9"):
        top_softmax(["n1", "n2"], ["n1", "n9"])


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_linear_softmax_predicts_like_scikit_learn(classes: int) -> None:
    features, labels = examples(classes)
    features = features.astype(np.float64) / features.std(axis=0)
    model = LogisticRegression(tol=0.1).fit(features, labels)
    estimator = linear_softmax(model.coef_, model.intercept_)
    assert np.abs(estimator.predict_proba(features) - model.predict_proba(features)).max() < 1e-12
    assert estimator.fits(6, classes)


def test_hidden_layers_are_rectified_and_the_last_one_is_not() -> None:
    """By hand: (1, -1) @ hidden kernel + bias = (2, -3), rectified (2, 0); the scores are (-4, -2)."""
    hidden = np.array([[1, -1], [0, 1]], np.float32), np.array([1, -1], np.float32)
    last = np.array([[-3, -1], [9, 9]], np.float32), np.array([2, 0], np.float32)
    layers = DenseLayers((hidden[0], last[0]), (hidden[1], last[1]))
    expected = np.exp([-4, -2]) / np.exp([-4, -2]).sum()
    np.testing.assert_allclose(layers.predict_proba(np.array([[1, -1]], np.float32)), [expected], rtol=1e-6)


def test_large_scores_do_not_overflow() -> None:
    layers = DenseLayers((np.array([[1000, 999]], np.float32),), (np.zeros(2, np.float32),))
    expected = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(layers.predict_proba(ones(1, 1)), [[expected, 1 - expected]], rtol=1e-6)


@pytest.mark.parametrize(
    ("kernels", "biases"),
    [
        ((), ()),
        ((ones(2, 3),), ()),
        ((ones(2, 3),), (ones(2),)),
        ((ones(2, 3),), (ones(1, 3),)),
        ((ones(3),), (ones(3),)),
        ((ones(2, 0),), (ones(0),)),
        ((ones(2, 3), ones(2, 4)), (ones(3), ones(4))),
        ((ones(2, 3) * np.float32(np.nan),), (ones(3),)),
        ((ones(2, 3),), (ones(3) * np.float32(np.inf),)),
    ],
    ids=["none", "bias", "width", "rank", "kernel rank", "empty", "chain", "nan", "inf"],
)
def test_layers_that_do_not_fit_together_are_inconsistent(
    kernels: tuple[Floats, ...], biases: tuple[Floats, ...]
) -> None:
    assert DenseLayers((ones(2, 3), ones(3, 4)), (ones(3), ones(4))).is_consistent
    assert not DenseLayers(kernels, biases).is_consistent


def test_estimators_fit_only_their_features_and_classes() -> None:
    layers = DenseLayers((ones(2, 3), ones(3, 4)), (ones(3), ones(4)))
    assert [layers.fits(2, 4), layers.fits(3, 4), layers.fits(2, 3)] == [True, False, False]
    top = top_softmax("abc", "cb")
    assert [top.fits(3, 2), top.fits(4, 2), top.fits(2, 2), top.fits(3, 3)] == [True, True, False, False]
    frequencies = [top_softmax("abc", "cb", values).fits(3, 2) for values in ([2.0], [2.0, 1.0], [2.0, 1.0, 1.0])]
    assert frequencies == [False, True, False]


def test_frequent_classes_get_more_of_the_probability() -> None:
    probabilities = np.array([[0.1, 0.6, 0.3], [0, 0.5, 0.5]], np.float32)
    weighted = top_softmax("abc", "bac", [1.0, 4.0, 1.0]).predict_proba(probabilities)
    assert weighted.dtype == np.float32
    assert weighted == pytest.approx(np.array([[6 / 13, 4 / 13, 3 / 13], [0.5, 0, 0.5]]))


@pytest.mark.parametrize("frequency", [0.0, -1.0, math.nan, math.inf, 1, "2", None])
def test_frequency_is_a_finite_number_above_0(frequency: Any) -> None:
    assert TopSoftmax((1, 0), (1.0, 2.0)).is_consistent
    assert not TopSoftmax((1, 0), (1.0, frequency)).is_consistent
