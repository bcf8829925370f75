"""Cross-validation: who is fitted on, who calibrates and who is measured are never the same images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from models.heads import Estimator, Floats, Integers
from models.manifests import Metrics
from training.errors import DatasetError
from training.estimators.heads import FittedHead, Logistic, Ridge
from training.heads.cross_validation import cross_validate, out_of_fold

CLASSES = ("blue", "green", "red")
LABELS = np.repeat(np.arange(3), (60, 40, 20))
#: The first feature is the number of the image, the others are noise but for a hint of the class.
ROWS = np.random.default_rng(4).normal(0, 1, (120, 8)).astype(np.float32)
ROWS[np.arange(120), 1 + LABELS] += 3
ROWS[:, 0] = np.arange(120)


def validate(head: FittedHead, rows: Floats = ROWS, labels: Integers = LABELS, **settings: Any) -> Metrics:
    return cross_validate(head, rows, labels, CLASSES, **{"folds": 5, "seed": 0, **settings})


@dataclass
class Fold:
    fitted: list[int]
    asked: list[list[int]] = field(default_factory=list)


@dataclass
class Noted:
    estimator: Estimator
    fold: Fold

    def predict_proba(self, features: Floats) -> Any:
        self.fold.asked.append(features[:, 0].astype(int).tolist())
        return self.estimator.predict_proba(features)


FOLDS: list[Fold] = []


class NotingLogistic(Logistic):
    """Notes which images it is fitted on and asked for."""

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        FOLDS.append(Fold(features[:, 0].astype(int).tolist()))
        return Noted(super().fit(features, labels, seed), FOLDS[-1])


def test_every_image_is_answered_once_by_a_head_that_it_had_no_part_in() -> None:
    FOLDS.clear()
    assert validate(NotingLogistic()).images == 120
    assert len(FOLDS) == 5
    for fold in FOLDS:
        calibrating, measured = fold.asked
        assert sorted(fold.fitted + calibrating + measured) == list(range(120))
        assert np.bincount(LABELS[measured]).tolist() == [12, 8, 4], "each class is spread evenly"
        assert set(LABELS[calibrating]) == {0, 1, 2}
        assert len(calibrating) == 5
    assert sorted(image for fold in FOLDS for image in fold.asked[1]) == list(range(120))


def test_without_calibration_all_but_the_fold_is_fitted_on_and_nothing_else_is_asked() -> None:
    FOLDS.clear()
    validate(NotingLogistic(), calibrate=False)
    assert [len(fold.asked) for fold in FOLDS] == [1] * 5


def test_what_only_remembers_its_images_is_found_out() -> None:
    """Noise with more features than images: a fit names all of its own images rightly."""
    random = np.random.default_rng(0)
    rows, labels = random.normal(0, 1, (120, 200)).astype(np.float32), random.permutation(LABELS)
    own = Ridge().fit(rows, labels, seed=0).predict_proba(rows).argmax(axis=1)
    assert (own == labels).all()
    assert validate(Ridge(), rows, labels).accuracy < 0.55


def test_the_same_seed_gives_the_same_figures_and_another_other_folds() -> None:
    assert validate(Logistic()) == validate(Logistic())
    assert validate(Logistic(), seed=1) != validate(Logistic())


def test_folds_are_told_of_as_they_are_done() -> None:
    told: list[int] = []
    validate(Logistic(), folds=3, advance=told.append)
    assert told == [1, 1, 1]


def test_a_class_with_fewer_images_than_folds_is_named() -> None:
    labels = np.where(np.arange(120) < 3, 2, np.arange(120) % 2)
    with pytest.raises(DatasetError, match=r"^'red' has 3 training images, too few for 5 folds\. Add images, or"):
        validate(Logistic(), labels=labels)
    assert validate(Logistic(), labels=labels, folds=3).images == 120


def test_near_duplicates_are_never_on_both_sides_of_a_fold() -> None:
    random = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(40), 3), np.repeat(random.permutation(np.arange(40) % 2), 3)
    rows = random.normal(size=(40, 60)).astype(np.float32)[groups]
    head = Logistic(C=10)
    told: list[int] = []
    apart = out_of_fold(head, rows, labels, groups, folds=5, seed=0, advance=told.append)
    leaking = out_of_fold(head, rows, labels, np.arange(120), folds=5, seed=0)
    assert (leaking.argmax(axis=1) == labels).mean() > 0.95, "copies in other folds give the answer away"
    assert (apart.argmax(axis=1) == labels).mean() < 0.7, "there is nothing to learn"
    assert told == [1] * 5
    assert np.allclose(apart.sum(axis=1), 1, atol=1e-5)
