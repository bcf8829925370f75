"""Parameters of a head, chosen by cross-validation with optuna (Akiba et al., 2019, arXiv:1907.10902).

Only images that the head is fitted on are looked at: neither the held-out ones nor the test set. Trials are kept in the
cache as they come, so a killed run goes on, and its outcome is that of a run which was not killed.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict

from models.console.progress import Advance, ignore
from models.heads import Floats, Integers
from models.manifests import Metrics
from training.data import dataset as datasets
from training.errors import RecipeError
from training.estimators.heads import FittedHead, Softmax
from training.heads.cross_validation import cross_validate
from training.heads.inputs import Inputs
from training.recipes.schema import Recipe, Tune

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "ridge": {"alpha": FloatDistribution(1e-6, 1e6, log=True)},
    "dense": {
        "dropout": FloatDistribution(0.0, 0.8),
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "batch": CategoricalDistribution((32, 64, 128, 256)),
    },
    "xgboost": {
        "n_estimators": IntDistribution(25, 400, step=25),
        "max_depth": IntDistribution(2, 8),
        "learning_rate": FloatDistribution(0.02, 0.5, log=True),
    },
    "logistic": {"C": FloatDistribution(1e-6, 10.0, log=True)},
}

#: parameters -> what a cross-validation makes of them
Measure = Callable[[FittedHead], Metrics]


class Trial(BaseModel):
    """One set of parameters and its cross-validated figures."""

    model_config = ConfigDict(frozen=True)

    parameters: dict[str, Any]
    log_loss: float
    accuracy: float


class Tuning(BaseModel):
    """All that was tried, and the head that did best."""

    model_config = ConfigDict(frozen=True)

    trials: tuple[Trial, ...]
    folds: int
    best: int
    """Index of the trial with the least log loss."""


def tuned(recipe: Recipe, given: Inputs) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with the best parameters for its head, and a record of all that was tried.

    The recipe that comes back asks for no tuning: run again, it fits the same head at once.
    """
    head, asked = recipe.head, recipe.tune
    if head is None or isinstance(head, Softmax) or asked is None:
        raise RecipeError(f"{recipe.name} has no head to tune.")
    images = given.data.train.take(datasets.fitting(given.data.train))
    rows, labels = given.features(images, "training images"), images.labels

    def measure(candidate: FittedHead) -> Metrics:
        names, folds = given.data.names, asked.folds
        return cross_validate(candidate, rows, labels, names, folds=folds, seed=recipe.seed, calibrate=recipe.calibrate)

    storage = given.at.cache / "tuning" / f"{_key(head, asked, recipe, rows, labels)}.sqlite"
    with given.at.track(f"tuning the {head.kind} head", asked.trials, "trials") as advance:
        best, tuning = tune(head, asked, measure, storage, seed=recipe.seed, advance=advance)
    found = tuning.trials[tuning.best]
    given.at.log(f"best of {asked.trials} trials: {found.parameters}, cross-validated log loss {found.log_loss:.4f}")
    return recipe.model_copy(update={"head": best, "tune": None}), tuning.model_dump(mode="json")


def tune(
    head: FittedHead,
    asked: Tune,
    measure: Measure,
    storage: Path,
    *,
    seed: int,
    advance: Advance = ignore,
) -> tuple[FittedHead, Tuning]:
    """Try sets of parameters and take the one with the least cross-validated log loss.

    Args:
        head: the recipe's own, which is tried first.
        asked: how many trials; those in `storage` count.
        measure: cross-validates a head; called once for each trial that is not stored yet.
        storage: file of the trials, for these features, labels and settings alone.
        seed: of the search.
        advance: is told of trials done; stored ones at once.
    """
    study, space = _study(storage), SPACES[head.kind]
    done = _completed(study)
    advance(min(len(done), asked.trials))
    while len(done) < asked.trials:
        # A sampler for each trial: its choice depends on the trials before alone, and not on a kill between them.
        study.sampler = TPESampler(seed=seed + len(done))
        trial = _asked(study, head, space, first=not done)
        measured = measure(head.model_copy(update=trial.params))
        trial.set_user_attr("accuracy", measured.accuracy)
        study.tell(trial, measured.log_loss)
        done = _completed(study)
        advance(1)
    trials = tuple(_trial(each) for each in done[: asked.trials])
    best = min(range(len(trials)), key=lambda index: trials[index].log_loss)
    return head.model_copy(update=trials[best].parameters), Tuning(trials=trials, folds=asked.folds, best=best)


def _key(head: FittedHead, asked: Tune, recipe: Recipe, rows: Floats, labels: Integers) -> str:
    """Digest of all that decides what a trial is worth: trials of other features, labels or folds do not count."""
    settings = f"{head.model_dump_json()} {asked.folds} {recipe.seed} {recipe.calibrate} {rows.shape} {labels.tolist()}"
    digest = hashlib.sha256(settings.encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()[:24]


def _study(storage: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=RDBStorage(f"sqlite:///{storage}"), study_name="head", direction="minimize", load_if_exists=True
    )
    for left in study.get_trials(states=(TrialState.RUNNING,)):  # by a killed run
        study.tell(left.number, state=TrialState.FAIL)
    return study


def _asked(study: optuna.Study, head: FittedHead, space: dict[str, BaseDistribution], first: bool) -> optuna.Trial:
    if first and not study.get_trials(states=(TrialState.WAITING,)):
        study.enqueue_trial({name: getattr(head, name) for name in space})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")  # the recipe's own may be
        return study.ask(space)


def _completed(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=(TrialState.COMPLETE,))


def _trial(trial: FrozenTrial) -> Trial:
    assert trial.value is not None
    return Trial(parameters=trial.params, log_loss=trial.value, accuracy=trial.user_attrs["accuracy"])
