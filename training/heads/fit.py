"""Fits a head on cached features: on 95 % of the training images, calibrated on the fixed 5 % that are held out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models import heads
from models.arrays import Floats, Integers
from models.classifier import Extractor
from models.heads import Head
from models.manifests import Metrics
from training.data.dataset import Dataset
from training.data.split import Split, fit_indices, holdout_indices
from training.errors import DatasetError, RecipeError
from training.estimators.kinds import Softmax
from training.evaluation import metrics
from training.heads.inputs import check_top_classes
from training.recipes.schema import Recipe

#: (images, title of the progress bar) -> features, float32 [images, width]
ExtractFunction = Callable[[Split, str], Floats]


def fit_head(
    recipe: Recipe, dataset: Dataset, extractor: Extractor, extract: ExtractFunction, log: Callable[[str], None]
) -> tuple[Head, Metrics]:
    """Fit and calibrate the recipe's head.

    Returns:
        The head, and its metrics on the held-out images. With `refit` these are measured before the head is fitted
        again on all images.

    Raises:
        DatasetError: there are too few classes or images.
        RecipeError: the recipe has no head, or its top has other classes.
    """
    holdout = dataset.train.take(holdout_indices(dataset.train))
    if len(dataset.class_ids) < 2 or not len(holdout):
        raise DatasetError(
            f"{dataset.root} is too small: it needs two classes, and at least one of them with two images."
        )
    if recipe.head is None:
        raise RecipeError(f"{recipe.name} has no [head].")
    check_top_classes(recipe, dataset, extractor.manifest.tops)
    holdout_features = extract(holdout, "held-out images")
    if isinstance(recipe.head, Softmax):
        top = extractor.manifest.tops[recipe.extractor.output]
        head = calibrate_head(
            heads.top_softmax(top, dataset.class_ids), holdout_features, holdout.labels, recipe.calibrate
        )
        return head, metrics.measure(head.predict_proba(holdout_features), holdout.labels, dataset.class_names)
    to_fit = dataset.train.take(fit_indices(dataset.train))
    features = extract(to_fit, "training images")
    log(f"fitting the {recipe.head.kind} head on {len(features):,} images")
    estimator = recipe.head.fit(features, to_fit.labels, recipe.seed)
    head = calibrate_head(estimator, holdout_features, holdout.labels, recipe.calibrate)
    measured = metrics.measure(head.predict_proba(holdout_features), holdout.labels, dataset.class_names)
    if recipe.refit:
        log(f"fitting it again on all {len(dataset.train):,} images")
        all_features = np.concatenate([features, holdout_features])
        all_labels = np.concatenate([to_fit.labels, holdout.labels])
        head = Head(recipe.head.fit(all_features, all_labels, recipe.seed), head.temperature)
    return head, measured


def calibrate_head(
    estimator: heads.Estimator, features: Floats, labels: Integers, with_temperature: bool = True
) -> Head:
    """Return the estimator as a head, with the temperature that suits images which it was not fitted on."""
    if not with_temperature:
        return Head(estimator)
    return Head(estimator, metrics.fit_temperature(Head(estimator).predict_proba(features), labels))
