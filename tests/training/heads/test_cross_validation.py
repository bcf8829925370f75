"""Cross-validation: images for fitting, calibration and measuring are always disjoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from models.arrays import Floats, Integers
from models.heads import Estimator
from models.manifests import Metrics
from training.errors import DatasetError
from training.estimators.kinds import FittedHead
from training.estimators.linear import Logistic, Ridge
from training.heads.cross_validation import cross_validate, out_of_fold_probabilities

CLASSES = ("blue", "green", "red")
LABELS = np.repeat(np.arange(3), (60, 40, 20))
#: The first feature is the number of the image, the others are noise with a hint of the class.
ROWS = np.random.default_rng(4).normal(0, 1, (120, 8)).astype(np.float32)
ROWS[np.arange(120), 1 + LABELS] += 3
ROWS[:, 0] = np.arange(120)


def validate(head: FittedHead, rows: Floats = ROWS, labels: Integers = LABELS, **settings: Any) -> Metrics:
    groups = settings.pop("groups", np.arange(len(labels)))
    return cross_validate(head, rows, labels, groups, CLASSES, **{"folds": 5, "seed": 0, **settings})


@dataclass
class Fold:
    fitted: list[int]
    predicted: list[list[int]] = field(default_factory=list)


@dataclass
class RecordingEstimator:
    estimator: Estimator
    fold: Fold

    def predict_proba(self, features: Floats) -> Any:
        self.fold.predicted.append(features[:, 0].astype(int).tolist())
        return self.estimator.predict_proba(features)


FOLDS: list[Fold] = []


class RecordingLogistic(Logistic):
    """Records the images that it is fitted on and predicts."""

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        FOLDS.append(Fold(features[:, 0].astype(int).tolist()))
        return RecordingEstimator(super().fit(features, labels, seed), FOLDS[-1])


def test_every_image_is_predicted_once_by_a_head_not_fitted_on_it() -> None:
    FOLDS.clear()
    assert validate(RecordingLogistic()).images == 120
    assert len(FOLDS) == 5
    for fold in FOLDS:
        calibrating, measured = fold.predicted
        assert sorted(fold.fitted + calibrating + measured) == list(range(120))
        assert np.bincount(LABELS[measured]).tolist() == [12, 8, 4], "each class is spread evenly"
        assert set(LABELS[calibrating]) == {0, 1, 2}
        assert len(calibrating) == 5
    assert sorted(image for fold in FOLDS for image in fold.predicted[1]) == list(range(120))


def test_without_calibration_only_the_measured_fold_is_predicted() -> None:
    FOLDS.clear()
    validate(RecordingLogistic(), calibrate=False)
    assert [len(fold.predicted) for fold in FOLDS] == [1] * 5


def test_memorising_head_has_a_low_cross_validated_accuracy() -> None:
    """With noise and more features than images, a fit predicts all of its own images correctly."""
    random = np.random.default_rng(0)
    rows, labels = random.normal(0, 1, (120, 200)).astype(np.float32), random.permutation(LABELS)
    predicted = Ridge().fit(rows, labels, seed=0).predict_proba(rows).argmax(axis=1)
    assert (predicted == labels).all()
    assert validate(Ridge(), rows, labels).accuracy < 0.55


def test_seed_determines_the_folds() -> None:
    assert validate(Logistic()) == validate(Logistic())
    assert validate(Logistic(), seed=1) != validate(Logistic())


def test_progress_is_reported_after_each_fold() -> None:
    advanced: list[int] = []
    validate(Logistic(), folds=3, advance=advanced.append)
    assert advanced == [1, 1, 1]


def test_class_with_fewer_images_than_folds_is_an_error() -> None:
    labels = np.where(np.arange(120) < 3, 2, np.arange(120) % 2)
    with pytest.raises(DatasetError, match=r"^'red' has 3 training images, too few for 5 folds\. Add images, or"):
        validate(Logistic(), labels=labels)
    assert validate(Logistic(), labels=labels, folds=3).images == 120


def test_images_of_a_group_are_fitted_on_calibrate_or_are_measured_together() -> None:
    FOLDS.clear()
    groups = np.arange(120) // 2
    assert validate(RecordingLogistic(), groups=groups).images == 120
    for fold in FOLDS:
        calibrating, measured = fold.predicted
        assert calibrating, "some groups calibrate"
        parts = [{int(groups[image]) for image in part} for part in (fold.fitted, calibrating, measured)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 60


def test_images_that_look_alike_count_once_for_the_number_of_folds() -> None:
    groups = np.where(LABELS == 2, 100 + np.arange(120) % 4, np.arange(120))
    with pytest.raises(DatasetError, match=r"^'red' has 4 training images, too few for 5 folds\..* look alike count"):
        validate(Logistic(), groups=groups)


def test_near_duplicates_stay_in_one_fold() -> None:
    random = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(40), 3), np.repeat(random.permutation(np.arange(40) % 2), 3)
    rows = random.normal(size=(40, 60)).astype(np.float32)[groups]
    head = Logistic(C=10)
    advanced: list[int] = []
    apart = out_of_fold_probabilities(head, rows, labels, groups, folds=5, seed=0, advance=advanced.append)
    leaking = out_of_fold_probabilities(head, rows, labels, np.arange(120), folds=5, seed=0)
    assert (leaking.argmax(axis=1) == labels).mean() > 0.95, "copies in other folds reveal the class"
    assert (apart.argmax(axis=1) == labels).mean() < 0.7, "there is nothing to learn"
    assert advanced == [1] * 5
    assert np.allclose(apart.sum(axis=1), 1, atol=1e-5)
