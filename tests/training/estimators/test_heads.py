"""Every kind of head learns, gives probabilities, and is the same again for the same seed."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models import heads
from models.heads import DenseLayers, Estimator, Floats, Head
from tests.support.clusters import examples
from training.estimators import dense_keras as dense
from training.estimators.heads import FITTED_KINDS, Dense, FittedHead, Logistic, Ridge, XGBoost
from training.evaluation import metrics

FITS: dict[str, FittedHead] = {
    "xgboost": XGBoost(n_estimators=5, max_depth=2),
    "logistic": Logistic(C=1.0),
    "ridge": Ridge(),
    "dense": Dense(units=(16, 8), learning_rate=0.03, batch=16, epochs=6),
}
EVERY_KIND = pytest.mark.parametrize("kind", FITS)


@functools.cache
def fitted(kind: str, classes: int = 4) -> Estimator:
    features, labels = examples(classes)
    return FITS[kind].fit(features, labels, seed=0)


def test_every_kind_is_tried_here() -> None:
    assert set(FITS) == set(FITTED_KINDS)


@pytest.mark.parametrize("classes", [2, 4])
@EVERY_KIND
def test_a_fitted_head_gives_probabilities_that_know_its_examples(kind: str, classes: int) -> None:
    features, labels = examples(classes)
    found = Head(fitted(kind, classes)).predict_proba(features)
    assert found.shape == (len(features), classes)
    assert found.dtype == np.float32
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5), "a row of probabilities does not sum to 1"
    assert (found.argmax(axis=1) == labels).mean() > 0.85, "the head did not learn what it was shown"


@EVERY_KIND
def test_the_same_seed_gives_the_same_bytes(kind: str) -> None:
    features, labels = examples(4)
    assert heads.save(FITS[kind].fit(features, labels, seed=0)) == heads.save(fitted(kind))


@EVERY_KIND
def test_one_row_gives_what_it_gives_in_a_batch(kind: str) -> None:
    features, _ = examples(4)
    head = Head(fitted(kind), temperature=1.7)
    together = head.predict_proba(features)
    alone = np.concatenate([head.predict_proba(features[i : i + 1]) for i in range(len(features))])
    assert np.allclose(together, alone, atol=1e-6), "an image's answer depends on the images beside it"


@EVERY_KIND
def test_a_head_answers_the_same_after_it_was_saved_and_loaded(kind: str) -> None:
    features, _ = examples(4)
    loaded = heads.load(heads.save(fitted(kind)))
    assert np.array_equal(loaded.predict_proba(features), fitted(kind).predict_proba(features))


@pytest.mark.parametrize("kind", ["logistic", "ridge", "dense"])
def test_a_feature_that_never_changes_is_harmless(kind: str) -> None:
    features, labels = examples(3)
    features[:, 2] = 0
    parameters = Dense(units=(4,), epochs=1) if kind == "dense" else FITS[kind]
    assert np.isfinite(parameters.fit(features, labels, seed=0).predict_proba(features)).all()


@EVERY_KIND
def test_parameters_are_checked(kind: str) -> None:
    wrong: dict[str, list[dict[str, Any]]] = {
        "xgboost": [{"n_estimators": 0}, {"max_depth": 0}, {"learning_rate": 0}, {"depth": 4}],
        "logistic": [{"C": -1}],
        "ridge": [{"alpha": 0}],
        "dense": [{"units": [8, 0]}, {"dropout": 1}, {"batch": 0}, {"patience": 0}],
    }
    for parameters in wrong[kind]:
        with pytest.raises(ValueError, match=next(iter(parameters))):
            FITTED_KINDS[kind].model_validate(parameters)


def test_the_folded_standardisation_equals_the_pipeline_of_scikit_learn() -> None:
    features, labels = examples(4)
    found = Logistic(C=0.5).fit(features, labels, seed=0).predict_proba(features)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=300))
    assert np.allclose(found, pipeline.fit(features, labels).predict_proba(features), atol=2e-4)


# --- ridge


def spread(each: int, features: int = 30) -> tuple[Floats, heads.Integers]:
    """Two classes that overlap, so that nobody can be sure: at best .84 are named rightly."""
    random = np.random.default_rng(8)
    labels = np.repeat(np.arange(2), each)
    rows = random.normal(0, 1, (2 * each, features)).astype(np.float32)
    rows[:, 0] += 2 * labels
    return rows, labels


@pytest.mark.parametrize("alpha", [1e-5, 10.0])
def test_ridge_names_what_the_ridge_classifier_of_scikit_learn_names(alpha: float) -> None:
    features, labels = spread(60)
    found = Ridge(alpha=alpha).fit(features, labels, seed=0).predict_proba(features)
    assert np.array_equal(found.argmax(axis=1), RidgeClassifier(alpha=alpha).fit(features, labels).predict(features))


def test_the_probabilities_of_ridge_need_little_calibration() -> None:
    features, labels = spread(400)
    fitted_on, unseen = slice(0, None, 2), slice(1, None, 2)
    probabilities = Ridge().fit(features[fitted_on], labels[fitted_on], seed=0).predict_proba(features[unseen])
    assert 0.75 < metrics.fit_temperature(probabilities.astype(np.float32), labels[unseen]) < 1.35
    assert metrics.expected_calibration_error(probabilities, labels[unseen]) < 0.06


# --- dense


def test_dense_layers_answer_what_keras_answers() -> None:
    features, _ = examples(3)
    keras.utils.set_random_seed(1)
    network = dense.network(Dense(units=(7, 5)), features=6, classes=3)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    expected = network.predict((features - mean) / deviation, verbose=0)
    found = dense.with_raw_features(dense.layers_of(network), mean, deviation)
    assert np.allclose(found.predict_proba(features), expected, atol=1e-5)


def test_the_network_is_the_one_of_the_post() -> None:
    network = dense.network(Dense(), features=2048, classes=10)
    assert [layer.units for layer in network.layers if hasattr(layer, "units")] == [2048, 512, 64, 10]
    assert [layer.rate for layer in network.layers if hasattr(layer, "rate")] == [0.2, 0.2, 0.2]
    assert isinstance(network.optimizer, keras.optimizers.Adam)
    assert float(network.optimizer.learning_rate) == pytest.approx(0.001)


def test_a_dense_head_is_stored_without_keras() -> None:
    head = fitted("dense")
    assert isinstance(head, DenseLayers)
    assert b"keras" not in heads.save(head)
    assert {kernel.dtype for kernel in head.kernels} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kind", ["ridge", "dense"])
def test_one_image_of_each_class_is_enough_to_fit(kind: str) -> None:
    """Nothing can then be set aside to look at."""
    features, labels = examples(3, each=1)
    parameters = Dense(units=(4,), epochs=2) if kind == "dense" else FITS[kind]
    assert np.isfinite(parameters.fit(features, labels, seed=0).predict_proba(features)).all()
