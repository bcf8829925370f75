"""Heads compared: the same features, the figures that a run would give, and a word where they are too good."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from models.console.progress import silent
from models.manifests import ExtractorManifest
from models.preprocess import PreprocessSpec
from tests.support import drawn
from training.data import dataset as datasets
from training.errors import RecipeError
from training.evaluation import metrics
from training.heads import fit as fitting
from training.heads.comparison import Comparison, compare, seen_by
from training.heads.inputs import Inputs
from training.recipes.schema import Data
from training.reporting import comparison as comparison_report
from training.runtime.context import RunContext

RECIPE = drawn.recipe(head={"kind": "logistic", "C": 0.5})


@pytest.fixture(scope="module")
def given(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    at = RunContext(None, silent, lambda line: None, colours, tmp_path_factory.mktemp("cache"))  # type: ignore[arg-type]
    data = datasets.load(Data(path="colours"), colours)
    return Inputs(data, drawn.extractor(), "pooled", PreprocessSpec(size=drawn.SIZE), at)


@pytest.fixture(scope="module")
def compared(given: Inputs) -> Comparison:
    return compare(RECIPE, given, ["ridge", "logistic"], folds=4)


def test_each_head_is_measured_by_cross_validation_and_on_the_test_set(compared: Comparison, given: Inputs) -> None:
    assert [head.kind for head in compared.heads] == ["ridge", "logistic"]
    for head in compared.heads:
        assert head.cross_validated.images == 160
        assert head.test is not None
        assert head.test.images == 80
        assert min(head.cross_validated.accuracy, head.test.accuracy) > 0.9
        assert head.fit_seconds > 0
        assert head.answer_ms > 0
    assert (compared.training_images, compared.test_images, compared.folds) == (160, 80, 4)
    assert compared.digest == given.data.digest


def test_the_recipe_s_own_head_keeps_its_parameters_and_others_have_the_post_s(compared: Comparison) -> None:
    ridge, logistic = compared.heads
    assert ridge.parameters == {"alpha": 1e-5}
    assert logistic.parameters == {"C": 0.5, "max_iter": 300}


def test_the_test_figures_are_those_of_a_run(compared: Comparison, given: Inputs) -> None:
    head, _ = fitting.fit_head(RECIPE, given.data, given.extractor, given.features, print)
    assert given.data.test is not None
    probabilities = head.predict_proba(given.features(given.data.test, "test set"))
    assert compared.heads[1].test == metrics.measure(probabilities, given.data.test.labels, given.data.names)


def test_all_heads_share_the_features(compared: Comparison, given: Inputs) -> None:
    engine = given.extractor.engine
    assert isinstance(engine, drawn.MeanColour)
    assert engine.seen == 240


def test_without_a_test_set_there_is_cross_validation_alone(given: Inputs) -> None:
    alone = replace(given, data=replace(given.data, test=None))
    found = compare(RECIPE, alone, ["ridge"], folds=2)
    assert found.heads[0].test is None
    assert found.notes == [f"Best by cross-validation: ridge, {found.heads[0].cross_validated.accuracy:.4f}"]
    assert comparison_report.table(found).row_count == 1
    comparison_report.draw(found)


def test_a_test_set_that_the_recipe_looks_at_once_is_left_alone(
    given: Inputs, compared: Comparison, tmp_path: Path
) -> None:
    extractor = drawn.extractor()
    engine = extractor.engine
    assert isinstance(engine, drawn.MeanColour)
    fresh = replace(given, extractor=extractor, at=replace(given.at, cache=tmp_path))
    once = RECIPE.model_copy(update={"data": Data(path="colours", test_once=True)})
    found = compare(once, fresh, ["ridge", "logistic"], folds=4)
    assert engine.seen == len(given.data.train), "not even its features are made"
    assert [head.test for head in found.heads] == [None, None]
    assert (found.test_images, found.digest) == (0, compared.digest)
    assert [head.cross_validated for head in found.heads] == [head.cross_validated for head in compared.heads]
    best, said = found.notes
    assert best.startswith("Best by cross-validation: ")
    assert said == "The test set was left alone: this recipe looks at it once (test_once), by training run."
    without = compare(once, replace(fresh, data=replace(given.data, test=None)), ["ridge"], folds=2)
    assert len(without.notes) == 1, "there is none to leave alone"


def test_an_unknown_head_is_said_before_work_is_put_into_it(given: Inputs) -> None:
    with pytest.raises(RecipeError, match="There is no head 'softmax' to fit"):
        compare(RECIPE, given, ["ridge", "softmax"])


def fitted_on(**sets: Any) -> ExtractorManifest:
    return drawn.extractor().manifest.model_copy(update={"fitted_on": {"start": "random", "last_step": {}, **sets}})


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({}, ""),
        ({"top": {"dataset": "colours", "digest": "0"}}, "fitted on a dataset of the same name, colours"),
        ({"top": {"dataset": "paintings", "digest": "0"}}, ""),
        ({"one": {"dataset": "paintings", "digest": "0"}, "two": {"dataset": "x", "digest": "OWN"}}, "these training"),
    ],
)
def test_cross_validation_is_called_optimistic_where_the_extractor_has_seen_the_images(
    given: Inputs, sets: dict[str, dict[str, str]], said: str
) -> None:
    for each in sets.values():
        each["digest"] = each["digest"].replace("OWN", given.data.digest)
    sentence = seen_by(fitted_on(**sets), given.data, RECIPE)
    assert (said in sentence) if said else (sentence == "")


def test_it_is_written_as_a_table_a_picture_and_json(compared: Comparison, tmp_path: Path) -> None:
    warned = compared.model_copy(update={"optimistic": "Cross-validation is optimistic here."})
    figures, picture = comparison_report.write(warned, tmp_path / "to")
    assert Comparison.model_validate(json.loads(figures.read_text())) == warned
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 10, "something is drawn"
    console = Console(width=200)
    with console.capture() as captured:
        console.print(comparison_report.table(warned))
    said = captured.get()
    for head in warned.heads:
        assert head.test is not None
        assert head.kind in said
        assert f"{head.test.accuracy:.4f}" in said
        assert f"{head.cross_validated.log_loss:.4f}" in said
    assert warned.notes[-1] == "Cross-validation is optimistic here."
