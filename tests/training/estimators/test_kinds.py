"""Every kind of head learns, gives probabilities, and is reproducible."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from xgboost import XGBClassifier

from models import heads
from models.heads import BoostedTrees, Estimator, Head
from tests.support.clusters import examples
from training.estimators.boosted_trees import XGBoost
from training.estimators.dense import Dense
from training.estimators.kinds import FITTED_KINDS, FittedHead
from training.estimators.linear import Logistic, Ridge

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


def test_these_tests_cover_every_kind() -> None:
    assert set(FITS) == set(FITTED_KINDS)


def test_defaults_of_the_parameters() -> None:
    assert {kind: parameters().model_dump(exclude={"kind"}) for kind, parameters in FITTED_KINDS.items()} == {
        "xgboost": {"n_estimators": 100, "max_depth": 4, "learning_rate": 0.1},
        "logistic": {"C": 0.001, "max_iter": 300},
        "ridge": {"alpha": 1e-5},
        "dense": {
            "units": (2048, 512, 64),
            "dropout": 0.2,
            "learning_rate": 0.001,
            "batch": 128,
            "epochs": 50,
            "patience": 3,
        },
    }


def test_trees_have_the_number_and_depth_of_their_parameters() -> None:
    features, labels = examples(4)
    estimator = XGBoost(n_estimators=3, max_depth=2, learning_rate=0.5).fit(features, labels, seed=0)
    assert isinstance(estimator, BoostedTrees)
    expected = XGBClassifier(n_estimators=3, max_depth=2, learning_rate=0.5, tree_method="hist", random_state=0)
    np.testing.assert_array_equal(
        estimator.predict_proba(features), expected.fit(features, labels).predict_proba(features)
    )


@pytest.mark.parametrize("classes", [2, 4])
@EVERY_KIND
def test_fitted_head_gives_correct_probabilities_for_its_examples(kind: str, classes: int) -> None:
    features, labels = examples(classes)
    probabilities = Head(fitted(kind, classes)).predict_proba(features)
    assert probabilities.shape == (len(features), classes)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5), "a row of probabilities does not sum to 1"
    assert (probabilities.argmax(axis=1) == labels).mean() > 0.85, "the head did not learn its examples"


@EVERY_KIND
def test_same_seed_gives_the_same_bytes(kind: str) -> None:
    features, labels = examples(4)
    assert heads.save(FITS[kind].fit(features, labels, seed=0)) == heads.save(fitted(kind))


@EVERY_KIND
def test_single_row_gets_the_same_answer_as_in_a_batch(kind: str) -> None:
    features, _ = examples(4)
    head = Head(fitted(kind), temperature=1.7)
    batch = head.predict_proba(features)
    single = np.concatenate([head.predict_proba(features[i : i + 1]) for i in range(len(features))])
    assert np.allclose(batch, single, atol=1e-6), "an answer depends on the other images of its batch"


@EVERY_KIND
def test_saved_and_loaded_head_gives_the_same_answers(kind: str) -> None:
    features, _ = examples(4)
    loaded = heads.load(heads.save(fitted(kind)))
    assert np.array_equal(loaded.predict_proba(features), fitted(kind).predict_proba(features))


@pytest.mark.parametrize("kind", ["logistic", "ridge", "dense"])
def test_constant_feature_gives_finite_probabilities(kind: str) -> None:
    features, labels = examples(3)
    features[:, 2] = 0
    parameters = Dense(units=(4,), epochs=1) if kind == "dense" else FITS[kind]
    assert np.isfinite(parameters.fit(features, labels, seed=0).predict_proba(features)).all()


@pytest.mark.parametrize("kind", ["ridge", "dense"])
def test_one_image_per_class_is_enough_to_fit(kind: str) -> None:
    """Both kinds hold out some images for validation, which is not possible here."""
    features, labels = examples(3, per_class=1)
    parameters = Dense(units=(4,), epochs=2) if kind == "dense" else FITS[kind]
    assert np.isfinite(parameters.fit(features, labels, seed=0).predict_proba(features)).all()


@EVERY_KIND
def test_invalid_parameters_are_rejected(kind: str) -> None:
    invalid: dict[str, list[dict[str, Any]]] = {
        "xgboost": [{"n_estimators": 0}, {"max_depth": 0}, {"learning_rate": 0}, {"depth": 4}],
        "logistic": [{"C": -1}],
        "ridge": [{"alpha": 0}],
        "dense": [{"units": [8, 0]}, {"dropout": 1}, {"batch": 0}, {"patience": 0}],
    }
    for parameters in invalid[kind]:
        with pytest.raises(ValueError, match=next(iter(parameters))):
            FITTED_KINDS[kind].model_validate(parameters)
