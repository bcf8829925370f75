"""Tuning: reproducible, resumable, and blind to all but the images that the head is fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from models.console.progress import silent
from models.manifests import Metrics
from models.preprocess import PreprocessSpec
from tests.support import drawn
from training.data import dataset as datasets
from training.estimators.heads import FITTED_KINDS, FittedHead, Logistic, Ridge
from training.heads import tuning
from training.heads.inputs import Inputs
from training.heads.tuning import SPACES, Tuning, tune
from training.recipes.schema import Data, Tune
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


class Valley:
    """The least loss is at an alpha of 100; stops with an error where it is told to, as a kill would."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked: list[float] = []
        self.fails_at = fails_at

    def __call__(self, head: FittedHead) -> Metrics:
        assert isinstance(head, Ridge)
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(head.alpha)
        return measured((math.log10(head.alpha) - 2) ** 2)


def search(storage: Path, measure: Callable[[FittedHead], Metrics], trials: int = 12) -> tuple[FittedHead, Tuning]:
    return tune(Ridge(), Tune(trials=trials), measure, storage, seed=3)


def test_the_recipe_s_own_parameters_are_tried_first_and_the_best_are_taken(tmp_path: Path) -> None:
    valley = Valley()
    head, record = search(tmp_path / "a.sqlite", valley)
    assert len(valley.asked) == len(record.trials) == 12
    assert valley.asked[0] == Ridge().alpha
    assert [trial.parameters["alpha"] for trial in record.trials] == pytest.approx(valley.asked)
    losses = [trial.log_loss for trial in record.trials]
    assert record.best == losses.index(min(losses)) > 0
    assert head == Ridge(alpha=record.trials[record.best].parameters["alpha"])
    assert record.trials[record.best].accuracy == pytest.approx(1 / (1 + min(losses)))


@pytest.mark.parametrize("after", [0, 11])
def test_a_killed_search_goes_on_to_the_same_end(tmp_path: Path, after: int) -> None:
    whole = search(tmp_path / "whole.sqlite", Valley())
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "killed.sqlite", Valley(fails_at=after))
    again = Valley()
    assert search(tmp_path / "killed.sqlite", again) == whole
    assert len(again.asked) == 12 - after, "what was tried before the kill is not tried again"


def test_more_trials_go_on_from_those_there_are_and_fewer_ask_nothing(tmp_path: Path) -> None:
    first = search(tmp_path / "a.sqlite", Valley(), trials=6)
    more = Valley()
    _, record = search(tmp_path / "a.sqlite", more, trials=9)
    assert len(more.asked) == 3
    assert record.trials[:6] == first[1].trials
    assert search(tmp_path / "a.sqlite", Valley(fails_at=0), trials=6) == first


def test_own_parameters_beyond_what_is_searched_are_tried_all_the_same(tmp_path: Path) -> None:
    valley = Valley()
    tune(Ridge(alpha=1e9), Tune(trials=2), valley, tmp_path / "a.sqlite", seed=0)
    assert valley.asked[0] == 1e9


@pytest.mark.parametrize("kind", FITTED_KINDS)
def test_every_kind_can_be_tuned_around_the_parameters_of_the_posts(kind: str) -> None:
    head = FITTED_KINDS[kind]()
    assert SPACES[kind]
    for name, distribution in SPACES[kind].items():
        value = getattr(head, name)
        assert distribution._contains(distribution.to_internal_repr(value)), f"{name} = {value} is not searched"


def given(colours: Path, cache: Path, engine: drawn.MeanColour, **spec: int) -> Inputs:
    at = RunContext(None, silent, lambda line: None, colours, cache)  # type: ignore[arg-type]
    data = datasets.load(Data(path="colours"), colours)
    return Inputs(data, drawn.extractor(engine), "pooled", PreprocessSpec(size=drawn.SIZE, **spec), at)


def test_only_the_images_that_a_head_is_fitted_on_are_looked_at(colours: Path, tmp_path: Path) -> None:
    engine = drawn.MeanColour()
    recipe = drawn.recipe(head={"kind": "logistic"}, tune={"trials": 3, "folds": 2})
    chosen, record = tuning.tuned(recipe, given(colours, tmp_path, engine))
    assert engine.seen == 152, "neither the 8 held-out images nor the 80 of the test set"
    assert isinstance(chosen.head, Logistic)
    assert record["trials"][record["best"]]["parameters"]["C"] == chosen.head.C
    assert chosen.tune is None, "made again, it fits this head at once"
    assert chosen.model_copy(update={"head": recipe.head, "tune": recipe.tune}) == recipe
    assert (len(record["trials"]), record["folds"]) == (3, 2)


def test_trials_of_other_features_do_not_count(colours: Path, tmp_path: Path) -> None:
    recipe = drawn.recipe(head={"kind": "logistic"}, tune={"trials": 2, "folds": 2})
    records = [
        tuning.tuned(other, given(colours, tmp_path, drawn.MeanColour(), **spec))[1]
        for other, spec in ((recipe, {}), (recipe, {"source": 8}), (recipe.model_copy(update={"seed": 1}), {}))
    ]
    assert len(list((tmp_path / "tuning").glob("*.sqlite"))) == 3
    assert records[0] != records[1]
