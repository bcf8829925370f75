"""Cross-validation: each training image is predicted by a head that was not fitted on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.arrays import Floats, Integers
from models.console.progress import Advance, ignore
from models.heads import Head
from models.manifests import Metrics
from training.data.split import HOLDOUT_SHARE
from training.errors import DatasetError
from training.estimators.kinds import FittedHead
from training.evaluation import metrics
from training.heads.fit import calibrate_head
from training.sampling import assign_folds, sample_whole_groups


def cross_validate(
    head: FittedHead,
    features: Floats,
    labels: Integers,
    groups: Integers,
    classes: Sequence[str],
    *,
    folds: int,
    seed: int,
    calibrate: bool = True,
    advance: Advance = ignore,
) -> Metrics:
    """Predict each fold with a head fitted on all others, and measure all predictions; folds are stratified.

    As for a classifier, 5 % of the images to fit on are held out for the temperature, so the measured fold does not
    influence that either. Images of a group are used together: to fit, to calibrate, or to measure.

    Args:
        head: its parameters.
        features: float32 [images, width].
        labels: [images], indices of `classes`.
        groups: [images], such as near duplicates.
        classes: names.
        folds: number of folds.
        seed: of the folds and of each fit.
        calibrate: whether to fit a temperature.
        advance: called with the number of folds done since the last call.

    Raises:
        DatasetError: a class has fewer groups than there are folds.
    """
    _check_class_sizes(labels, groups, classes, folds)
    probabilities = np.zeros((len(labels), len(classes)), np.float32)
    fold_of = assign_folds(labels, groups, folds, np.random.default_rng(seed))
    for number in range(folds):
        fold, others = np.flatnonzero(fold_of == number), np.flatnonzero(fold_of != number)
        random = np.random.default_rng(seed)
        holdout = others[sample_whole_groups(labels[others], groups[others], HOLDOUT_SHARE, random)]
        to_fit = np.setdiff1d(others, holdout)
        estimator = head.fit(features[to_fit], labels[to_fit], seed)
        calibrated = calibrate_head(estimator, features[holdout], labels[holdout], calibrate and len(holdout) > 0)
        probabilities[fold] = calibrated.predict_proba(features[fold])
        advance(1)
    return metrics.measure(probabilities, labels, classes)


def out_of_fold_probabilities(
    head: FittedHead,
    features: Floats,
    labels: Integers,
    groups: Integers,
    *,
    folds: int,
    seed: int,
    advance: Advance = ignore,
) -> Floats:
    """Predict each image with a head that was fitted on neither it nor any image of its group, without temperature.

    Args:
        head: its parameters.
        features: float32 [images, width].
        labels: [images]; every class leads at least two groups (see `training.sampling.assign_folds`).
        groups: [images], such as near duplicates, which stay in one fold.
        folds: maximum number of folds.
        seed: of the folds and of each fit.
        advance: called with the number of folds done since the last call.

    Returns:
        Probabilities, float32 [images, classes].
    """
    fold_of = assign_folds(labels, groups, folds, np.random.default_rng(seed))
    probabilities = np.zeros((len(labels), labels.max() + 1), np.float32)
    for fold in range(folds):
        in_fold = fold_of == fold
        if in_fold.any():
            estimator = head.fit(features[~in_fold], labels[~in_fold], seed)
            probabilities[in_fold] = Head(estimator).predict_proba(features[in_fold])
        advance(1)
    return probabilities


def _check_class_sizes(labels: Integers, groups: Integers, classes: Sequence[str], folds: int) -> None:
    _, first = np.unique(groups, return_index=True)  # a group counts for the class of its first image
    counts = np.bincount(labels[first], minlength=len(classes)).tolist()
    smallest = min(counts)
    if smallest < folds:
        raise DatasetError(
            f"{classes[counts.index(smallest)]!r} has {smallest} training images, too few for {folds} folds. "
            "Add images, or use fewer folds. Images that look alike count as one."
        )
