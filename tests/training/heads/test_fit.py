"""Heads are fitted on 95 % of the images and calibrated on the rest; only a refit uses all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.arrays import Floats
from models.heads import Head, apply_temperature
from models.manifests import Metrics
from tests.support import colour_dataset
from training.data.dataset import Dataset
from training.data.split import Split, holdout_indices
from training.errors import DatasetError, RecipeError
from training.evaluation import metrics
from training.heads import fit as fitting
from training.partition.partition import Partition
from training.recipes.schema import Recipe

CLASSES = ("blue", "green", "red")
ROWS = np.random.default_rng(1).normal(0, 1, (300, 12)).astype(np.float32)


def dataset(counts: tuple[int, ...] = (100, 60, 80), classes: tuple[str, ...] = CLASSES) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    paths = tuple(Path(str(number)) for number in range(len(labels)))
    digests = tuple(f"{number:064x}" for number in range(len(labels)))
    return Dataset(Path("colours"), classes, classes, Split(paths, labels, digests), None)


def features_of(split: Split) -> Floats:
    """A row per image, which separates the classes imperfectly."""
    rows = ROWS[[int(path.name) for path in split.images]].copy()
    rows[np.arange(len(split)), split.labels] += 1.5
    return rows


class Extract:
    """Returns features and records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __call__(self, split: Split, title: str) -> Floats:
        self.calls.append((title, len(split)))
        return features_of(split)


def fit(recipe: Recipe, data: Dataset) -> tuple[Head, Metrics, list[str]]:
    lines: list[str] = []
    head, measured = fitting.fit_head(recipe, Partition(data), colour_dataset.extractor(), Extract(), lines.append)
    return head, measured, lines


LOGISTIC = {"kind": "logistic"}
XGBOOST = {"kind": "xgboost", "n_estimators": 5}


@pytest.mark.parametrize("head", [LOGISTIC, XGBOOST], ids=["logistic", "xgboost"])
def test_head_is_fitted_on_all_but_the_held_out_images(head: dict[str, object]) -> None:
    recipe, data = colour_dataset.recipe(head=head), dataset()
    fitted_head, measured, lines = fit(recipe, data)
    held_indices = holdout_indices(data.train)
    fitted = data.train.take(np.setdiff1d(np.arange(240), held_indices))
    held = data.train.take(held_indices)
    assert recipe.head is not None
    assert recipe.head.kind != "softmax"
    alone = recipe.head.fit(features_of(fitted), fitted.labels, recipe.seed)
    rows = features_of(data.train)
    assert np.array_equal(fitted_head.estimator.predict_proba(rows), alone.predict_proba(rows))
    probabilities = Head(alone).predict_proba(features_of(held))
    assert fitted_head.temperature == metrics.fit_temperature(probabilities, held.labels) != 1
    calibrated = apply_temperature(probabilities, fitted_head.temperature)
    assert measured == metrics.measure(calibrated, held.labels, CLASSES)
    assert lines == [f"fitting the {recipe.head.kind} head on 228 images"]


def test_refit_uses_all_images_and_keeps_the_temperature() -> None:
    data = dataset()
    recipe = colour_dataset.recipe(head=LOGISTIC)
    before, measured, _ = fit(recipe, data)
    after, measured_after, lines = fit(recipe.model_copy(update={"refit": True}), data)
    assert after.temperature == before.temperature
    assert measured_after == measured, "measured before the held-out images were fitted on"
    assert lines[-1] == "fitting it again on all 240 images"
    held = holdout_indices(data.train)
    order = np.concatenate([np.setdiff1d(np.arange(240), held), held])
    everything = data.train.take(order)
    assert recipe.head is not None
    assert recipe.head.kind == "logistic"
    expected = recipe.head.fit(features_of(everything), everything.labels, recipe.seed)
    rows = features_of(data.train)
    assert np.array_equal(after.estimator.predict_proba(rows), expected.predict_proba(rows))
    assert not np.array_equal(after.estimator.predict_proba(rows), before.estimator.predict_proba(rows))


def test_without_calibration_the_temperature_is_1() -> None:
    head, _, _ = fit(colour_dataset.recipe(head=LOGISTIC, calibrate=False), dataset())
    assert head.temperature == 1


def test_features_are_requested_for_each_fit_and_for_the_held_out_images() -> None:
    extract = Extract()
    recipe = colour_dataset.recipe(head=LOGISTIC, refit=True)
    fitting.fit_head(recipe, Partition(dataset()), colour_dataset.extractor(), extract, print)
    assert extract.calls == [
        ("held-out images", 12),
        ("training images", 228),
        ("all training images", 240),
    ]


def test_softmax_head_has_the_class_order_of_the_dataset() -> None:
    """The extractor's top has red, green, grey, blue; the dataset's folders are sorted."""
    recipe = colour_dataset.recipe(head={"kind": "softmax"}, extractor={"name": "mean_colour", "output": "colour"})
    data = dataset((40, 40, 40, 40), colour_dataset.CLASSES)
    top = np.array([[0.4, 0.3, 0.2, 0.1]], np.float32)
    head, measured = fitting.fit_head(
        recipe, Partition(data), colour_dataset.extractor(), lambda split, _: np.repeat(top, len(split), axis=0), print
    )
    assert np.allclose(Head(head.estimator).predict_proba(top), [[0.1, 0.3, 0.2, 0.4]])
    assert measured.accuracy_by_class == {"blue": 0, "green": 0, "grey": 0, "red": 1}


def test_top_with_other_classes_is_rejected() -> None:
    recipe = colour_dataset.recipe(head={"kind": "softmax"}, extractor={"name": "mean_colour", "output": "colour"})
    for classes in (("blue", "green", "pink"), ("blue", "green")):
        with pytest.raises(RecipeError, match="The top 'colour' of mean_colour has other classes than colours"):
            fit(recipe, dataset((20, 20, 20)[: len(classes)], classes))


@pytest.mark.parametrize(("counts", "classes"), [((20,), ("blue",)), ((1, 1), ("blue", "red"))])
def test_too_small_dataset_is_rejected(counts: tuple[int, ...], classes: tuple[str, ...]) -> None:
    with pytest.raises(
        DatasetError, match="colours is too small: it needs two classes, and at least one of them with two"
    ):
        fit(colour_dataset.recipe(head=LOGISTIC), dataset(counts, classes))


def test_dataset_whose_training_images_are_all_in_the_test_set_is_rejected() -> None:
    data = replace(dataset((20, 20), ("blue", "red")), test=dataset((20, 20)).train)
    with pytest.raises(DatasetError, match="Images that look like one that measures the classifier do not count"):
        fit(colour_dataset.recipe(head=LOGISTIC), data)


def test_class_with_a_single_image_is_accepted() -> None:
    head, measured, _ = fit(colour_dataset.recipe(head=XGBOOST), dataset((40, 1, 40)))
    assert head.predict_proba(ROWS[:2]).shape == (2, 3)
    assert set(measured.accuracy_by_class) == {"blue", "red"}
