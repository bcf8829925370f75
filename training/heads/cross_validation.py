"""Cross-validation: each training image is answered by a head that has not seen it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.console.progress import Advance, ignore
from models.heads import Floats, Head, Integers
from models.manifests import Metrics
from training.data.dataset import HOLDOUT_SHARE
from training.errors import DatasetError
from training.estimators.heads import FittedHead
from training.evaluation import metrics
from training.heads.fit import calibrated
from training.sampling import share_of_each, spread


def cross_validate(
    head: FittedHead,
    rows: Floats,
    labels: Integers,
    classes: Sequence[str],
    *,
    folds: int,
    seed: int,
    calibrate: bool = True,
    advance: Advance = ignore,
) -> Metrics:
    """Fit a head on all folds but one and answer that one, for each; every class is spread evenly over the folds.

    As for a classifier, 5 % of what a head is fitted on is set aside for its temperature; so the fold that measures it
    has no part in that either.

    Args:
        head: its parameters.
        rows: features, float32 [images, width].
        labels: [images], indices of `classes`.
        classes: names.
        folds: number of parts.
        seed: of the folds and of each fit.
        calibrate: whether a temperature is fitted.
        advance: is told of each fold done.

    Raises:
        DatasetError: a class has fewer images than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels, minlength=len(classes)).tolist()
    fewest = min(counts)
    if fewest < folds:
        raise DatasetError(
            f"{classes[counts.index(fewest)]!r} has {fewest} training images, too few for {folds} folds. "
            "Add images, or ask for fewer folds."
        )
    probabilities = np.zeros((len(labels), len(classes)), np.float32)
    for others, fold in StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels):
        held = others[share_of_each(labels[others], HOLDOUT_SHARE, np.random.default_rng(seed))]
        fitted = np.setdiff1d(others, held)
        estimator = head.fit(rows[fitted], labels[fitted], seed)
        probabilities[fold] = calibrated(estimator, rows[held], labels[held], calibrate).predict_proba(rows[fold])
        advance(1)
    return metrics.measure(probabilities, labels, classes)


def out_of_fold(
    head: FittedHead,
    rows: Floats,
    labels: Integers,
    groups: Integers,
    *,
    folds: int,
    seed: int,
    advance: Advance = ignore,
) -> Floats:
    """Probabilities of each image by a head that has seen neither it nor any of its group; no temperature is fitted.

    Args:
        head: its parameters.
        rows: features, float32 [images, width].
        labels: [images]; every class leads two groups at least (`training.sampling.spread`).
        groups: [images], such as near duplicates, which stay in one fold.
        folds: number of parts at most.
        seed: of the folds and of each fit.
        advance: is told of each fold done.

    Returns:
        float32 [images, classes].
    """
    fold_of = spread(labels, groups, folds, np.random.default_rng(seed))
    probabilities = np.zeros((len(labels), labels.max() + 1), np.float32)
    for fold in range(folds):
        answered = fold_of == fold
        if answered.any():
            estimator = head.fit(rows[~answered], labels[~answered], seed)
            probabilities[answered] = Head(estimator).predict_proba(rows[answered])
        advance(1)
    return probabilities
