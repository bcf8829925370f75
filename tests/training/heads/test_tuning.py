"""Tuning: reproducible, resumable, and only on the images that the head is fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.console.progress import silent
from models.manifests import Metrics
from models.preprocess import PreprocessSpec
from tests.support import colour_dataset
from tests.support.colour_engine import ColourEngine
from training.data.dataset import load_dataset
from training.errors import DatasetError
from training.estimators.kinds import FITTED_KINDS, FittedHead
from training.estimators.linear import Logistic, Ridge
from training.heads import tuning
from training.heads.inputs import HeadInputs
from training.heads.tuning import SPACES, TuningRecord, tune_head
from training.partition.partition import HOLDOUT, Partition
from training.partition.record import Stage, Use
from training.recipes.data import DatasetSpec
from training.recipes.schema import Tune
from training.runtime.context import RunContext


def measured(log_loss: float) -> Metrics:
    return Metrics(
        images=10,
        accuracy=1 / (1 + log_loss),
        accuracy_interval=(0, 1),
        top5_accuracy=1,
        log_loss=log_loss,
        expected_calibration_error=0,
        accuracy_by_class={},
    )


class QuadraticLoss:
    """A loss with its minimum at an alpha of 100; can raise an error at a call, like a kill."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.alphas: list[float] = []
        self.fails_at = fails_at

    def __call__(self, head: FittedHead) -> Metrics:
        assert isinstance(head, Ridge)
        if len(self.alphas) == self.fails_at:
            raise KeyboardInterrupt
        self.alphas.append(head.alpha)
        return measured((math.log10(head.alpha) - 2) ** 2)


def search(
    storage: Path, measure: Callable[[FittedHead], Metrics], trials: int = 12
) -> tuple[FittedHead, TuningRecord]:
    return tune_head(Ridge(), Tune(trials=trials), measure, storage, seed=3)


def test_recipe_parameters_are_tried_first_and_the_best_are_chosen(tmp_path: Path) -> None:
    loss = QuadraticLoss()
    head, record = search(tmp_path / "a.sqlite", loss)
    assert len(loss.alphas) == len(record.trials) == 12
    assert loss.alphas[0] == Ridge().alpha
    assert [trial.parameters["alpha"] for trial in record.trials] == pytest.approx(loss.alphas)
    losses = [trial.log_loss for trial in record.trials]
    assert record.best == losses.index(min(losses)) > 0
    assert head == Ridge(alpha=record.trials[record.best].parameters["alpha"])
    assert record.trials[record.best].accuracy == pytest.approx(1 / (1 + min(losses)))


@pytest.mark.parametrize("after", [0, 11])
def test_killed_search_resumes_to_the_same_result(tmp_path: Path, after: int) -> None:
    uninterrupted = search(tmp_path / "whole.sqlite", QuadraticLoss())
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed.sqlite", QuadraticLoss(fails_at=after))
    again = QuadraticLoss()
    assert search(tmp_path / "killed.sqlite", again) == uninterrupted
    assert len(again.alphas) == 12 - after, "trials before the kill are not repeated"


def test_more_trials_continue_and_fewer_trials_run_nothing(tmp_path: Path) -> None:
    first = search(tmp_path / "a.sqlite", QuadraticLoss(), trials=6)
    more = QuadraticLoss()
    _, record = search(tmp_path / "a.sqlite", more, trials=9)
    assert len(more.alphas) == 3
    assert record.trials[:6] == first[1].trials
    assert search(tmp_path / "a.sqlite", QuadraticLoss(fails_at=0), trials=6) == first


def test_recipe_parameters_outside_the_search_space_are_tried(tmp_path: Path) -> None:
    loss = QuadraticLoss()
    tune_head(Ridge(alpha=1e9), Tune(trials=2), loss, tmp_path / "a.sqlite", seed=0)
    assert loss.alphas[0] == 1e9


@pytest.mark.parametrize("kind", FITTED_KINDS)
def test_search_space_of_every_kind_contains_its_defaults(kind: str) -> None:
    head = FITTED_KINDS[kind]()
    assert SPACES[kind]
    for name, distribution in SPACES[kind].items():
        value = getattr(head, name)
        assert distribution._contains(distribution.to_internal_repr(value)), f"{name} = {value} is not searched"


def make_inputs(colours: Path, cache: Path, engine: ColourEngine, **spec: int) -> HeadInputs:
    ctx = RunContext(None, silent, lambda line: None, colours, cache)  # type: ignore[arg-type]
    data = load_dataset(DatasetSpec(path="colours"), colours)
    preprocess = PreprocessSpec(size=colour_dataset.SIZE, **spec)
    return HeadInputs(Partition(data), colour_dataset.extractor(engine), "pooled", preprocess, ctx)


def test_tuning_uses_only_the_images_that_the_head_is_fitted_on(colours: Path, tmp_path: Path) -> None:
    engine = ColourEngine()
    recipe = colour_dataset.recipe(head={"kind": "logistic"}, tune={"trials": 3, "folds": 2})
    chosen, record = tuning.tune_recipe(recipe, make_inputs(colours, tmp_path, engine))
    assert engine.image_count == 152, "neither the 8 held-out images nor the 80 of the test set"
    assert isinstance(chosen.head, Logistic)
    assert record["trials"][record["best"]]["parameters"]["C"] == chosen.head.C
    assert chosen.tune is None, "a run of it fits this head without tuning"
    assert chosen.model_copy(update={"head": recipe.head, "tune": recipe.tune}) == recipe
    assert (len(record["trials"]), record["folds"]) == (3, 2)


def test_images_that_look_alike_stay_in_one_fold_of_a_trial(colours: Path, tmp_path: Path) -> None:
    """All blue images but those held out are one group, which cannot be in two folds."""
    inputs = make_inputs(colours, tmp_path, ColourEngine())
    dataset = inputs.partition.dataset
    held = set(inputs.partition.hand_out(Stage.HEAD, HOLDOUT, Use.MEASURE).digests)
    blue = {
        digest: 1
        for digest, label in zip(dataset.train.digests, dataset.train.labels, strict=True)
        if label == 0 and digest not in held
    }
    recipe = colour_dataset.recipe(head={"kind": "logistic"}, tune={"trials": 1, "folds": 2})
    with pytest.raises(DatasetError, match="'blue' has 1 training images, too few for 2 folds"):
        tuning.tune_recipe(recipe, replace(inputs, partition=Partition(dataset, blue)))


def test_trials_of_other_features_are_not_reused(colours: Path, tmp_path: Path) -> None:
    recipe = colour_dataset.recipe(head={"kind": "logistic"}, tune={"trials": 2, "folds": 2})
    records = [
        tuning.tune_recipe(other, make_inputs(colours, tmp_path, ColourEngine(), **spec))[1]
        for other, spec in ((recipe, {}), (recipe, {"source": 8}), (recipe.model_copy(update={"seed": 1}), {}))
    ]
    assert len(list((tmp_path / "tuning").glob("*.sqlite"))) == 3
    assert records[0] != records[1]
