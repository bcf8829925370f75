"""Linear heads agree with scikit-learn, and ridge probabilities are calibrated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.arrays import Floats, Integers
from tests.support.clusters import examples
from training.estimators.linear import Logistic, Ridge
from training.evaluation import metrics
from training.sampling import sample_per_class


def test_logistic_with_folded_standardisation_equals_a_scikit_learn_pipeline() -> None:
    features, labels = examples(4)
    probabilities = Logistic(C=0.5).fit(features, labels, seed=0).predict_proba(features)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=300))
    assert np.allclose(probabilities, pipeline.fit(features, labels).predict_proba(features), atol=2e-4)


def overlapping_classes(count: int, features: int = 30) -> tuple[Floats, Integers]:
    """Draw two overlapping classes; the best possible accuracy is .84."""
    random = np.random.default_rng(8)
    labels = np.repeat(np.arange(2), count)
    rows = random.normal(0, 1, (2 * count, features)).astype(np.float32)
    rows[:, 0] += 2 * labels
    return rows, labels


@pytest.mark.parametrize("alpha", [1e-5, 10.0])
def test_ridge_predicts_the_same_classes_as_scikit_learn(alpha: float) -> None:
    features, labels = overlapping_classes(60)
    probabilities = Ridge(alpha=alpha).fit(features, labels, seed=0).predict_proba(features)
    expected = RidgeClassifier(alpha=alpha).fit(features, labels).predict(features)
    assert np.array_equal(probabilities.argmax(axis=1), expected)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("alpha", [1e-5, 10.0])
def test_ridge_scores_are_the_least_squares_over_their_variance(classes: int, alpha: float) -> None:
    """Solve the normal equations of centred rows; the variance is measured on the sampled fifth of the images."""
    features, labels = examples(classes, per_class=25)
    targets, rows = np.eye(classes)[labels], features.astype(np.float64)

    def scores(fitted_on: Integers, of: Integers) -> npt.NDArray[np.float64]:
        mean, target_mean = rows[fitted_on].mean(axis=0), targets[fitted_on].mean(axis=0)
        centred = rows[fitted_on] - mean
        gram = centred.T @ centred + alpha * np.eye(rows.shape[1])
        solved = np.linalg.solve(gram, centred.T @ (targets[fitted_on] - target_mean))
        return np.asarray((rows[of] - mean) @ solved + target_mean)

    everything = np.arange(len(labels))
    held_out = sample_per_class(labels, 0.2, np.random.default_rng(4))
    assert len(held_out) == 5 * classes
    errors = scores(np.setdiff1d(everything, held_out), held_out) - targets[held_out]
    squares = [*(errors**2).sum(axis=1), classes * 0.25]
    variance = np.mean(squares) / (classes - 1)
    powers = np.exp(scores(everything, everything) / variance)
    expected = powers / powers.sum(axis=1, keepdims=True)
    probabilities = Ridge(alpha=alpha).fit(features, labels, seed=4).predict_proba(features)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-9)


def test_constant_feature_does_not_disturb_a_logistic_regression() -> None:
    features, labels = examples(3)
    with_constant = np.concatenate([features, np.full((len(features), 1), 7, np.float32)], axis=1)
    expected = Logistic(C=0.5).fit(features, labels, seed=0).predict_proba(features)
    actual = Logistic(C=0.5).fit(with_constant, labels, seed=0).predict_proba(with_constant)
    assert np.allclose(actual, expected, atol=1e-3)


def test_ridge_probabilities_need_little_calibration() -> None:
    features, labels = overlapping_classes(400)
    fitted_on, unseen = slice(0, None, 2), slice(1, None, 2)
    probabilities = Ridge().fit(features[fitted_on], labels[fitted_on], seed=0).predict_proba(features[unseen])
    assert 0.75 < metrics.fit_temperature(probabilities.astype(np.float32), labels[unseen]) < 1.35
    assert metrics.expected_calibration_error(probabilities, labels[unseen]) < 0.06
