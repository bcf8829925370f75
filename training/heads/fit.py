"""A head on cached features: fitted on 95 % of the training images, calibrated on the fixed 5 %."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models import heads
from models.classifier import Extractor
from models.heads import Floats, Head, Integers
from models.manifests import Metrics
from training.data import dataset as datasets
from training.data.dataset import Dataset, Split
from training.errors import DatasetError, RecipeError
from training.estimators.heads import Softmax
from training.evaluation import metrics
from training.recipes.schema import Recipe

#: (images, what they are called) -> their features, float32 [images, width]
Extract = Callable[[Split, str], Floats]


def fit_head(
    recipe: Recipe, data: Dataset, extractor: Extractor, extract: Extract, say: Callable[[str], None]
) -> tuple[Head, Metrics]:
    """Fit and calibrate the recipe's head.

    Returns:
        The head, and what it was worth on the held-out images (before a refit, which sees them).

    Raises:
        DatasetError: there are too few classes or images.
        RecipeError: the recipe asks for a top of other classes.
    """
    holdout = data.train.take(datasets.holdout(data.train))
    if len(data.ids) < 2 or not len(holdout):
        raise DatasetError(f"{data.root} is too small: two classes are needed, and one of them with two images.")
    held_rows = extract(holdout, "held-out images")
    if isinstance(recipe.head, Softmax):
        head = calibrated(_own_top(recipe, data, extractor), held_rows, holdout.labels, recipe.calibrate)
        return head, metrics.measure(head.predict_proba(held_rows), holdout.labels, data.names)
    if recipe.head is None:
        raise RecipeError(f"{recipe.name} has no [head].")
    fitting = data.train.take(datasets.fitting(data.train))
    rows = extract(fitting, "training images")
    say(f"fitting the {recipe.head.kind} head on {len(rows):,} images")
    estimator = recipe.head.fit(rows, fitting.labels, recipe.seed)
    head = calibrated(estimator, held_rows, holdout.labels, recipe.calibrate)
    measured = metrics.measure(head.predict_proba(held_rows), holdout.labels, data.names)
    if recipe.refit:
        say(f"fitting it again on all {len(data.train):,} images")
        everything = np.concatenate([rows, held_rows])
        labels = np.concatenate([fitting.labels, holdout.labels])
        head = Head(recipe.head.fit(everything, labels, recipe.seed), head.temperature)
    return head, measured


def calibrated(estimator: heads.Estimator, rows: Floats, labels: Integers, calibrate: bool = True) -> Head:
    """The estimator as a head, with the temperature that suits images which it has not seen."""
    if not calibrate:
        return Head(estimator)
    return Head(estimator, metrics.fit_temperature(Head(estimator).predict_proba(rows), labels))


def _own_top(recipe: Recipe, data: Dataset, extractor: Extractor) -> heads.Estimator:
    top = extractor.manifest.tops.get(recipe.extractor.output, ())
    if set(data.ids) != set(top):
        raise RecipeError(
            f"The top {recipe.extractor.output!r} of {recipe.extractor.name} has other classes than {data.root.name}."
        )
    return heads.top_softmax(top, data.ids)
