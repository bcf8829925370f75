"""Heads are fitted on 95 % and calibrated on the rest; only a refit sees everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.heads import Floats, Head, apply_temperature
from models.manifests import Metrics
from tests.support import drawn
from training.data import dataset as datasets
from training.data.dataset import Dataset, Split
from training.errors import DatasetError, RecipeError
from training.evaluation import metrics
from training.heads import fit as fitting
from training.recipes.schema import Recipe

CLASSES = ("blue", "green", "red")
ROWS = np.random.default_rng(1).normal(0, 1, (300, 12)).astype(np.float32)


def dataset(counts: tuple[int, ...] = (100, 60, 80), classes: tuple[str, ...] = CLASSES) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    paths = tuple(Path(str(number)) for number in range(len(labels)))
    return Dataset(Path("colours"), classes, classes, Split(paths, labels, ("",) * len(labels)), None)


def features_of(split: Split) -> Floats:
    """Rows that tell the classes apart, but not quite; each image has its own."""
    rows = ROWS[[int(path.name) for path in split.paths]].copy()
    rows[np.arange(len(split)), split.labels] += 1.5
    return rows


class Extract:
    """Features, and what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, split: Split, what: str) -> Floats:
        self.asked.append((what, len(split)))
        return features_of(split)


def fit(recipe: Recipe, data: Dataset) -> tuple[Head, Metrics, list[str]]:
    said: list[str] = []
    head, measured = fitting.fit_head(recipe, data, drawn.extractor(), Extract(), said.append)
    return head, measured, said


LOGISTIC = {"kind": "logistic"}
XGBOOST = {"kind": "xgboost", "n_estimators": 5}


@pytest.mark.parametrize("head", [LOGISTIC, XGBOOST], ids=["logistic", "xgboost"])
def test_a_head_is_fitted_on_all_but_the_held_out_images(head: dict[str, object]) -> None:
    recipe, data = drawn.recipe(head=head), dataset()
    found, measured, said = fit(recipe, data)
    fitted = data.train.take(datasets.fitting(data.train))
    held = data.train.take(datasets.holdout(data.train))
    assert recipe.head is not None
    assert recipe.head.kind != "softmax"
    alone = recipe.head.fit(features_of(fitted), fitted.labels, recipe.seed)
    rows = features_of(data.train)
    assert np.array_equal(found.estimator.predict_proba(rows), alone.predict_proba(rows))
    probabilities = Head(alone).predict_proba(features_of(held))
    assert found.temperature == metrics.fit_temperature(probabilities, held.labels) != 1
    calibrated = apply_temperature(probabilities, found.temperature)
    assert measured == metrics.measure(calibrated, held.labels, CLASSES)
    assert said == [f"fitting the {recipe.head.kind} head on 228 images"]


def test_a_refit_sees_all_images_and_keeps_the_temperature() -> None:
    data = dataset()
    recipe = drawn.recipe(head=LOGISTIC)
    before, measured, _ = fit(recipe, data)
    after, measured_after, said = fit(recipe.model_copy(update={"refit": True}), data)
    assert after.temperature == before.temperature
    assert measured_after == measured, "measured before the held-out images were fitted on"
    assert said[-1] == "fitting it again on all 240 images"
    order = np.concatenate([datasets.fitting(data.train), datasets.holdout(data.train)])
    everything = data.train.take(order)
    assert recipe.head is not None
    assert recipe.head.kind == "logistic"
    expected = recipe.head.fit(features_of(everything), everything.labels, recipe.seed)
    rows = features_of(data.train)
    assert np.array_equal(after.estimator.predict_proba(rows), expected.predict_proba(rows))
    assert not np.array_equal(after.estimator.predict_proba(rows), before.estimator.predict_proba(rows))


def test_without_calibration_the_probabilities_stay_as_they_come() -> None:
    head, _, _ = fit(drawn.recipe(head=LOGISTIC, calibrate=False), dataset())
    assert head.temperature == 1


def test_each_image_is_asked_for_once() -> None:
    extract = Extract()
    fitting.fit_head(drawn.recipe(head=LOGISTIC, refit=True), dataset(), drawn.extractor(), extract, print)
    assert extract.asked == [("held-out images", 12), ("training images", 228)]


def test_the_networks_own_top_answers_in_the_order_of_the_dataset() -> None:
    """The extractor's top has red, green, grey, blue; the dataset's folders are sorted."""
    recipe = drawn.recipe(head={"kind": "softmax"}, extractor={"name": "mean_colour", "output": "top"})
    data = dataset((40, 40, 40, 40), drawn.CLASSES)
    top = np.array([[0.4, 0.3, 0.2, 0.1]], np.float32)
    head, measured = fitting.fit_head(
        recipe, data, drawn.extractor(), lambda split, _: np.repeat(top, len(split), axis=0), print
    )
    assert np.allclose(Head(head.estimator).predict_proba(top), [[0.1, 0.3, 0.2, 0.4]])
    assert measured.accuracy_by_class == {"blue": 0, "green": 0, "grey": 0, "red": 1}


def test_a_top_of_other_classes_is_refused() -> None:
    recipe = drawn.recipe(head={"kind": "softmax"}, extractor={"name": "mean_colour", "output": "top"})
    for classes in (("blue", "green", "pink"), ("blue", "green")):
        with pytest.raises(RecipeError, match="The top 'top' of mean_colour has other classes than colours"):
            fit(recipe, dataset((20, 20, 20)[: len(classes)], classes))


@pytest.mark.parametrize(("counts", "classes"), [((20,), ("blue",)), ((1, 1), ("blue", "red"))])
def test_a_dataset_can_be_too_small(counts: tuple[int, ...], classes: tuple[str, ...]) -> None:
    with pytest.raises(DatasetError, match="colours is too small: two classes are needed, and one of them with two"):
        fit(drawn.recipe(head=LOGISTIC), dataset(counts, classes))


def test_a_class_of_one_image_is_no_hindrance() -> None:
    head, measured, _ = fit(drawn.recipe(head=XGBOOST), dataset((40, 1, 40)))
    assert head.predict_proba(ROWS[:2]).shape == (2, 3)
    assert set(measured.accuracy_by_class) == {"blue", "red"}
