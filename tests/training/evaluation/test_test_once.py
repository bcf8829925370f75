"""The test set is looked at once: a repeated run reads what the first one measured, of the same model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifacts.store import Store
from models.heads import Head
from models.manifests import Metrics
from models.preprocess import PreprocessSpec
from tests.support import drawn
from training.estimators.heads import Logistic
from training.evaluation import test_once as looks
from training.heads import save as classifiers
from training.heads.save import Fitted

_ROWS = np.random.default_rng(2).random((40, 12), np.float32)
_HEAD = Head(Logistic(kind="logistic").fit(_ROWS, np.arange(40) % 4, 0), 1.25)
_FIGURES = Metrics(
    images=80,
    accuracy=0.5,
    accuracy_interval=(0.4, 0.6),
    top5_accuracy=1.0,
    log_loss=0.5,
    expected_calibration_error=0.1,
    accuracy_by_class={},
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A version without a look at the test set, one with it, and one without it again."""
    store = Store(tmp_path)
    for measured in ({"holdout": _FIGURES}, {"test": _FIGURES}, {}):
        fitted = Fitted(_HEAD, drawn.CLASSES, measured, {"digest": "d1g35t"}, np.array([3]))
        classifiers.save(drawn.recipe(), PreprocessSpec(size=drawn.SIZE), drawn.extractor(), fitted, store)
    return store


def test_the_first_look_of_the_same_recipe_on_the_same_data_is_found(store: Store) -> None:
    found = looks.previous_measurement(drawn.recipe(), "d1g35t", store)
    assert found
    assert found.label == "colours@2"


@pytest.mark.parametrize(("parts", "digest"), [({"seed": 1}, "d1g35t"), ({"name": "mine"}, "d1g35t"), ({}, "other")])
def test_another_recipe_or_other_data_have_not_been_looked_at(store: Store, parts: Any, digest: str) -> None:
    assert looks.previous_measurement(drawn.recipe(**parts), digest, store) is None


def test_a_refit_comes_after_the_look(store: Store) -> None:
    assert looks.previous_measurement(drawn.recipe(refit=True), "d1g35t", store)


def test_its_figures_are_those_of_the_same_model_alone(store: Store) -> None:
    first = looks.previous_measurement(drawn.recipe(), "d1g35t", store)
    assert first
    said: list[str] = []
    assert looks.recorded(first, drawn.extractor(), _HEAD, said.append) == {"test": _FIGURES}
    assert "colours@2, and is not measured again: this is the same model" in said[0]
    for extractor, head in (
        (drawn.extractor(weights="1" * 64), _HEAD),
        (drawn.extractor(), Head(_HEAD.estimator, 1.3)),
        (drawn.extractor(), Head(Logistic(kind="logistic").fit(_ROWS, np.arange(40) % 3, 0), 1.25)),
    ):
        assert looks.recorded(first, extractor, head, said.append) == {}
        assert "this is another model, which has none" in said[-1]
