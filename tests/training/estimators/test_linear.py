"""Linear heads agree with scikit-learn, and ridge probabilities are calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.arrays import Floats, Integers
from tests.support.clusters import examples
from training.estimators.linear import Logistic, Ridge
from training.evaluation import metrics


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


def test_ridge_probabilities_need_little_calibration() -> None:
    features, labels = overlapping_classes(400)
    fitted_on, unseen = slice(0, None, 2), slice(1, None, 2)
    probabilities = Ridge().fit(features[fitted_on], labels[fitted_on], seed=0).predict_proba(features[unseen])
    assert 0.75 < metrics.fit_temperature(probabilities.astype(np.float32), labels[unseen]) < 1.35
    assert metrics.expected_calibration_error(probabilities, labels[unseen]) < 0.06
