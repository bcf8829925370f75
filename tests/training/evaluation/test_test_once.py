"""Test sets that are measured once: a repeated run reports the first metrics, if it makes the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifacts.store import Store
from models.heads import Head
from models.manifests import Metrics, SetRecord
from models.preprocess import PreprocessSpec
from tests.support import colour_dataset
from training.estimators.linear import Logistic
from training.evaluation import test_once
from training.evaluation.test_once import DatasetDigests, EarlierTest
from training.heads import save as classifiers
from training.heads.save import TrainedHead

_ROWS = np.random.default_rng(2).random((40, 12), np.float32)
_HEAD = Head(Logistic(kind="logistic").fit(_ROWS, np.arange(40) % 4, 0), 1.25)
_METRICS = Metrics(
    images=80,
    accuracy=0.5,
    accuracy_interval=(0.4, 0.6),
    top5_accuracy=1.0,
    log_loss=0.5,
    expected_calibration_error=0.1,
    accuracy_by_class={},
)
DIGESTS = DatasetDigests("d1g35t", "t35t")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A version without test metrics, one with them, and one without them again."""
    store = Store(tmp_path)
    for measured in ({"holdout": _METRICS}, {"test": _METRICS}, {}):
        fitted = TrainedHead(_HEAD, colour_dataset.CLASSES, measured, {"digest": "d1g35t"}, np.array([3]))
        classifiers.save_classifier(
            colour_dataset.recipe(), PreprocessSpec(size=colour_dataset.SIZE), colour_dataset.extractor(), fitted, store
        )
    return store


def test_first_measurement_of_the_same_recipe_and_data_is_returned(store: Store) -> None:
    artifact = test_once.previous_measurement(colour_dataset.recipe(), DIGESTS, store)
    assert artifact
    assert artifact.label == "colours@2"


@pytest.mark.parametrize(("parts", "digest"), [({"seed": 1}, "d1g35t"), ({"name": "mine"}, "d1g35t"), ({}, "other")])
def test_other_recipe_or_data_has_no_previous_measurement(store: Store, parts: Any, digest: str) -> None:
    assert test_once.previous_measurement(colour_dataset.recipe(**parts), DatasetDigests(digest, "t35t"), store) is None


def test_refit_does_not_count_as_another_recipe(store: Store) -> None:
    assert test_once.previous_measurement(colour_dataset.recipe(refit=True), DIGESTS, store)


def test_same_test_set_counts_as_measured_with_other_training_images(tmp_path: Path) -> None:
    """The record of the set decides; only a classifier without one is compared by its whole dataset."""
    record = SetRecord(digest="t35t", images=80)
    fitted = TrainedHead(
        _HEAD, colour_dataset.CLASSES, {"test": _METRICS}, {"digest": "d1g35t"}, np.array([3]), sets={"test": record}
    )
    spec, store = PreprocessSpec(size=colour_dataset.SIZE), Store(tmp_path)
    classifiers.save_classifier(colour_dataset.recipe(), spec, colour_dataset.extractor(), fitted, store)
    recipe = colour_dataset.recipe()
    assert test_once.previous_measurement(recipe, DatasetDigests("other", "t35t"), store)
    assert test_once.previous_measurement(recipe, DatasetDigests("d1g35t", "other"), store) is None


def test_prose_of_the_card_does_not_make_another_recipe(store: Store) -> None:
    other = colour_dataset.recipe(card={"title": "Other", "about": "Other words."})
    assert test_once.previous_measurement(other, DIGESTS, store)


def test_recorded_metrics_apply_only_to_the_same_model(store: Store) -> None:
    first = test_once.previous_measurement(colour_dataset.recipe(), DIGESTS, store)
    assert first
    lines: list[str] = []
    assert test_once.recorded_test(first, colour_dataset.extractor(), _HEAD, lines.append).metrics == {"test": _METRICS}
    assert "colours@2 and is not measured again: this is the same model" in lines[0]
    for extractor, head in (
        (colour_dataset.extractor(weights="1" * 64), _HEAD),
        (colour_dataset.extractor(), Head(_HEAD.estimator, 1.3)),
        (colour_dataset.extractor(), Head(Logistic(kind="logistic").fit(_ROWS, np.arange(40) % 3, 0), 1.25)),
    ):
        assert test_once.recorded_test(first, extractor, head, lines.append) == EarlierTest()
        assert "this is another model, so it has no test metrics" in lines[-1]
