"""Fits a head on cached features: on 95 % of the training images, calibrated on the fixed 5 % that are held out."""

from __future__ import annotations

from collections.abc import Callable

from models import heads
from models.arrays import Floats, Integers
from models.classifier import Extractor
from models.heads import Head
from models.manifests import Metrics
from training.data.split import Split
from training.errors import DatasetError, RecipeError
from training.estimators.kinds import Softmax
from training.evaluation import metrics
from training.heads.inputs import check_top_classes
from training.partition.partition import FIT, HOLDOUT, TRAIN, Partition
from training.partition.record import Stage, Use
from training.recipes.schema import Recipe

#: (images, title of the progress bar) -> features, float32 [images, width]
ExtractFunction = Callable[[Split, str], Floats]


def fit_head(
    recipe: Recipe, partition: Partition, extractor: Extractor, extract: ExtractFunction, log: Callable[[str], None]
) -> tuple[Head, Metrics]:
    """Fit and calibrate the recipe's head.

    Returns:
        The head, and its metrics on the held-out images. With `refit` these are measured before the head is fitted
        again on all training images.

    Raises:
        DatasetError: there are too few classes or images.
        RecipeError: the recipe has no head, or its top has other classes.
    """
    dataset = partition.dataset
    if len(dataset.class_ids) < 2 or not partition.count(HOLDOUT):
        alike = (
            " Images that look like one that measures the classifier do not count."
            if partition.excluded(HOLDOUT)
            else ""
        )
        raise DatasetError(
            f"{dataset.root} is too small: it needs two classes, and at least one of them with two images.{alike}"
        )
    if recipe.head is None:
        raise RecipeError(f"{recipe.name} has no [head].")
    check_top_classes(recipe, dataset, extractor.manifest.tops)
    uses = (Use.CALIBRATE, Use.MEASURE) if recipe.calibrate else (Use.MEASURE,)
    holdout = partition.hand_out(Stage.HEAD, HOLDOUT, *uses)
    holdout_features = extract(holdout, "held-out images")
    if isinstance(recipe.head, Softmax):
        top = extractor.manifest.tops[recipe.extractor.output]
        head = calibrate_head(
            heads.top_softmax(top, dataset.class_ids), holdout_features, holdout.labels, recipe.calibrate
        )
        return head, metrics.measure(head.predict_proba(holdout_features), holdout.labels, dataset.class_names)
    to_fit = _images_to_fit(partition, FIT)
    features = extract(to_fit, "training images")
    log(f"fitting the {recipe.head.kind} head on {len(features):,} images")
    estimator = recipe.head.fit(features, to_fit.labels, recipe.seed)
    head = calibrate_head(estimator, holdout_features, holdout.labels, recipe.calibrate)
    measured = metrics.measure(head.predict_proba(holdout_features), holdout.labels, dataset.class_names)
    if recipe.refit:
        everything = _images_to_fit(partition, TRAIN)
        log(f"fitting it again on all {len(everything):,} images")
        features = extract(everything, "all training images")
        head = Head(recipe.head.fit(features, everything.labels, recipe.seed), head.temperature)
    return head, measured


def _images_to_fit(partition: Partition, name: str) -> Split:
    """Return the images to fit on; raises DatasetError if a class has none."""
    split = partition.hand_out(Stage.HEAD, name, Use.FIT)
    missing = sorted(set(range(len(partition.dataset.class_ids))) - set(split.labels.tolist()))
    if missing:
        raise DatasetError(
            f"All training images of {partition.dataset.class_names[missing[0]]!r} look like images that measure the "
            "classifier. Add others."
        )
    return split


def calibrate_head(
    estimator: heads.Estimator, features: Floats, labels: Integers, with_temperature: bool = True
) -> Head:
    """Return the estimator as a head, with the temperature that suits images which it was not fitted on."""
    if not with_temperature:
        return Head(estimator)
    return Head(estimator, metrics.fit_temperature(Head(estimator).predict_proba(features), labels))
