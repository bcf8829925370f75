"""Tunes the parameters of a head by cross-validation with optuna (Akiba et al., 2019, arXiv:1907.10902).

Only images that the head is fitted on are used, neither the held-out ones nor the test set. Each trial is saved in the
cache, so that an interrupted run resumes and ends with the same result as an uninterrupted one.
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

from models.arrays import Floats
from models.console.progress import Advance, ignore
from models.manifests import Metrics
from training.errors import RecipeError
from training.estimators.kinds import FittedHead, Softmax
from training.heads.cross_validation import cross_validate
from training.heads.inputs import HeadInputs
from training.partition.partition import FIT, Folds
from training.partition.record import Stage, Use
from training.recipes.schema import Recipe, Tune

#: Kind of head -> its tuned parameters and their ranges.
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

#: parameters of a head -> its cross-validated metrics
MeasureFunction = Callable[[FittedHead], Metrics]


class Trial(BaseModel):
    """One set of parameters and its cross-validated metrics."""

    model_config = ConfigDict(frozen=True)

    parameters: dict[str, Any]
    log_loss: float
    accuracy: float


class TuningRecord(BaseModel):
    """All trials, and which of them is the best."""

    model_config = ConfigDict(frozen=True)

    trials: tuple[Trial, ...]
    folds: int
    best: int
    """Index of the trial with the lowest log loss."""


def tune_recipe(recipe: Recipe, inputs: HeadInputs) -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe with the best parameters for its head, and a record of all trials for the manifest.

    The returned recipe has no [tune], so that a run of it fits the same head without tuning.

    Raises:
        RecipeError: the recipe has no fitted head, or no [tune].
    """
    head, settings = recipe.head, recipe.tune
    if head is None or isinstance(head, Softmax) or settings is None:
        raise RecipeError(f"{recipe.name} has no head to tune: it needs a [head] that is fitted, and [tune].")
    folds = inputs.partition.folds(Stage.TUNING, FIT, Use.FIT, Use.CALIBRATE, Use.CHOOSE)
    features, labels = inputs.extract(folds.split, "training images"), folds.split.labels

    def measure(candidate: FittedHead) -> Metrics:
        return cross_validate(
            candidate,
            features,
            labels,
            folds.groups,
            inputs.partition.dataset.class_names,
            folds=settings.folds,
            seed=recipe.seed,
            calibrate=recipe.calibrate,
        )

    storage = inputs.ctx.cache / "tuning" / f"{_key(head, settings, recipe, features, folds)}.sqlite"
    with inputs.ctx.track(f"tuning the {head.kind} head", settings.trials, "trials") as advance:
        best_head, record = tune_head(head, settings, measure, storage, seed=recipe.seed, advance=advance)
    best = record.trials[record.best]
    inputs.ctx.log(f"best of {settings.trials} trials: {best.parameters}, cross-validated log loss {best.log_loss:.4f}")
    return recipe.model_copy(update={"head": best_head, "tune": None}), record.model_dump(mode="json")


def tune_head(
    head: FittedHead,
    settings: Tune,
    measure: MeasureFunction,
    storage: Path,
    *,
    seed: int,
    advance: Advance = ignore,
) -> tuple[FittedHead, TuningRecord]:
    """Try sets of parameters and return the head with the lowest cross-validated log loss.

    Args:
        head: the recipe's own, which is tried first.
        settings: number of trials, including those in `storage`.
        measure: cross-validates a head; called once for each trial that is not stored yet.
        storage: file of the trials, for these features, labels and settings only.
        seed: of the search.
        advance: called with the number of trials done since the last call, stored ones first.
    """
    study, space = _open_study(storage), SPACES[head.kind]
    completed = _completed_trials(study)
    advance(min(len(completed), settings.trials))
    while len(completed) < settings.trials:
        # A new sampler for each trial: its choice depends on the trials before it only, not on a restart.
        study.sampler = TPESampler(seed=seed + len(completed))
        trial = _next_trial(study, head, space, is_first=not completed)
        metrics = measure(head.model_copy(update=trial.params))
        trial.set_user_attr("accuracy", metrics.accuracy)
        study.tell(trial, metrics.log_loss)
        completed = _completed_trials(study)
        advance(1)
    trials = tuple(_to_trial(trial) for trial in completed[: settings.trials])
    best = min(range(len(trials)), key=lambda index: trials[index].log_loss)
    record = TuningRecord(trials=trials, folds=settings.folds, best=best)
    return head.model_copy(update=trials[best].parameters), record


def _key(head: FittedHead, settings: Tune, recipe: Recipe, features: Floats, images: Folds) -> str:
    """Digest of everything that determines the metrics of a trial."""
    labels, groups = images.split.labels.tolist(), images.groups.tolist()
    texts = (head.model_dump_json(), settings.folds, recipe.seed, recipe.calibrate, features.shape, labels, groups)
    digest = hashlib.sha256(" ".join(map(str, texts)).encode())
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()[:24]


def _open_study(storage: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=RDBStorage(f"sqlite:///{storage}"), study_name="head", direction="minimize", load_if_exists=True
    )
    for unfinished in study.get_trials(states=(TrialState.RUNNING,)):  # by a killed run
        study.tell(unfinished.number, state=TrialState.FAIL)
    return study


def _next_trial(
    study: optuna.Study, head: FittedHead, space: dict[str, BaseDistribution], is_first: bool
) -> optuna.Trial:
    if is_first and not study.get_trials(states=(TrialState.WAITING,)):
        study.enqueue_trial({name: getattr(head, name) for name in space})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Fixed parameter .* is out of range")  # the recipe's own may be
        return study.ask(space)


def _completed_trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=(TrialState.COMPLETE,))


def _to_trial(trial: FrozenTrial) -> Trial:
    assert trial.value is not None
    return Trial(parameters=trial.params, log_loss=trial.value, accuracy=trial.user_attrs["accuracy"])
