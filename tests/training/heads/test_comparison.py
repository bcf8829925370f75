"""Comparison of heads on the same features, with the metrics that a run would give."""

from __future__ import annotations

import json
import os
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
from tests.support import colour_dataset
from tests.support.colour_engine import ColourEngine
from training.data.dataset import load_dataset
from training.errors import RecipeError
from training.evaluation import metrics
from training.heads import fit as fitting
from training.heads.comparison import HeadComparison, compare_heads, overlap_warning
from training.heads.inputs import HeadInputs
from training.recipes.data import DatasetSpec
from training.reporting import comparison as comparison_report
from training.runtime.context import RunContext

RECIPE = colour_dataset.recipe(head={"kind": "logistic", "C": 0.5})


@pytest.fixture(scope="module")
def inputs(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> HeadInputs:
    ctx = RunContext(None, silent, lambda line: None, colours, tmp_path_factory.mktemp("cache"))  # type: ignore[arg-type]
    data = load_dataset(DatasetSpec(path="colours"), colours)
    return HeadInputs(data, colour_dataset.extractor(), "pooled", PreprocessSpec(size=colour_dataset.SIZE), ctx)


@pytest.fixture(scope="module")
def compared(inputs: HeadInputs) -> HeadComparison:
    return compare_heads(RECIPE, inputs, ["ridge", "logistic"], folds=4)


def test_heads_are_measured_by_cross_validation_and_on_the_test_set(
    compared: HeadComparison, inputs: HeadInputs
) -> None:
    assert [head.kind for head in compared.heads] == ["ridge", "logistic"]
    for head in compared.heads:
        assert head.cross_validated.images == 160
        assert head.test is not None
        assert head.test.images == 80
        assert min(head.cross_validated.accuracy, head.test.accuracy) > 0.9
        assert head.fit_seconds > 0
        assert head.answer_ms > 0
    assert (compared.training_images, compared.test_images, compared.folds) == (160, 80, 4)
    assert compared.digest == inputs.dataset.digest


def test_recipe_head_keeps_its_parameters_and_others_have_defaults(compared: HeadComparison) -> None:
    ridge, logistic = compared.heads
    assert ridge.parameters == {"alpha": 1e-5}
    assert logistic.parameters == {"C": 0.5, "max_iter": 300}


def test_test_metrics_are_those_of_a_run(compared: HeadComparison, inputs: HeadInputs) -> None:
    head, _ = fitting.fit_head(RECIPE, inputs.dataset, inputs.extractor, inputs.extract, print)
    assert inputs.dataset.test is not None
    probabilities = head.predict_proba(inputs.extract(inputs.dataset.test, "test set"))
    assert compared.heads[1].test == metrics.measure(
        probabilities, inputs.dataset.test.labels, inputs.dataset.class_names
    )


def test_all_heads_share_the_features(compared: HeadComparison, inputs: HeadInputs) -> None:
    engine = inputs.extractor.engine
    assert isinstance(engine, ColourEngine)
    assert engine.image_count == 240


def test_without_a_test_set_there_is_only_cross_validation(inputs: HeadInputs) -> None:
    alone = replace(inputs, dataset=replace(inputs.dataset, test=None))
    comparison = compare_heads(RECIPE, alone, ["ridge"], folds=2)
    assert comparison.heads[0].test is None
    assert comparison.notes == [f"Best by cross-validation: ridge, {comparison.heads[0].cross_validated.accuracy:.4f}"]
    assert comparison_report.comparison_table(comparison).row_count == 1
    comparison_report.plot_comparison(comparison)


def test_test_set_that_is_measured_once_is_not_measured(
    inputs: HeadInputs, compared: HeadComparison, tmp_path: Path
) -> None:
    extractor = colour_dataset.extractor()
    engine = extractor.engine
    assert isinstance(engine, ColourEngine)
    fresh = replace(inputs, extractor=extractor, ctx=replace(inputs.ctx, cache=tmp_path))
    once = RECIPE.model_copy(update={"data": DatasetSpec(path="colours", test_once=True)})
    comparison = compare_heads(once, fresh, ["ridge", "logistic"], folds=4)
    assert engine.image_count == len(inputs.dataset.train), "not even its features are extracted"
    assert [head.test for head in comparison.heads] == [None, None]
    assert (comparison.test_images, comparison.digest) == (0, compared.digest)
    assert [head.cross_validated for head in comparison.heads] == [head.cross_validated for head in compared.heads]
    best, note = comparison.notes
    assert best.startswith("Best by cross-validation: ")
    assert note == "The test set was not measured: this recipe measures it once (test_once), by training run."
    without = compare_heads(once, replace(fresh, dataset=replace(inputs.dataset, test=None)), ["ridge"], folds=2)
    assert len(without.notes) == 1, "there is no test set to skip"


def test_unknown_kind_of_head_is_rejected_before_any_work(inputs: HeadInputs) -> None:
    with pytest.raises(RecipeError, match="There is no head 'softmax'"):
        compare_heads(RECIPE, inputs, ["ridge", "softmax"])


def fitted_on(**sets: Any) -> ExtractorManifest:
    return colour_dataset.extractor().manifest.model_copy(
        update={"fitted_on": {"start": "random", "last_step": {}, **sets}}
    )


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ({}, ""),
        ({"top": {"dataset": "colours", "digest": "0"}}, "fitted on a dataset of the same name, colours"),
        ({"top": {"dataset": "paintings", "digest": "0"}}, ""),
        ({"one": {"dataset": "paintings", "digest": "0"}, "two": {"dataset": "x", "digest": "OWN"}}, "these training"),
    ],
)
def test_warning_if_the_extractor_was_fitted_on_the_images(
    inputs: HeadInputs, sets: dict[str, dict[str, str]], expected: str
) -> None:
    for fitted in sets.values():
        fitted["digest"] = fitted["digest"].replace("OWN", inputs.dataset.digest)
    sentence = overlap_warning(fitted_on(**sets), inputs.dataset, RECIPE)
    assert (expected in sentence) if expected else (sentence == "")


def test_comparison_is_written_as_a_table_a_plot_and_json(compared: HeadComparison, tmp_path: Path) -> None:
    warned = compared.model_copy(update={"optimistic": "Cross-validation is optimistic here."})
    json_file, plot_file = comparison_report.write_comparison(warned, tmp_path / "to")
    assert HeadComparison.model_validate(json.loads(json_file.read_text())) == warned
    with Image.open(plot_file) as image:
        assert image.format == "PNG"
        assert np.asarray(image.convert("L")).std() > 10, "the plot is not blank"
    console = Console(width=200)
    with console.capture() as captured:
        console.print(comparison_report.comparison_table(warned))
    output = captured.get()
    for head in warned.heads:
        assert head.test is not None
        assert head.kind in output
        assert f"{head.test.accuracy:.4f}" in output
        assert f"{head.cross_validated.log_loss:.4f}" in output
    assert warned.notes[-1] == "Cross-validation is optimistic here."


def test_comparison_on_a_dataset_with_an_unusual_name_is_written(compared: HeadComparison, tmp_path: Path) -> None:
    renamed = compared.model_copy(update={"dataset": os.fsdecode(b"[red] k\xe4fer")})
    json_file, _ = comparison_report.write_comparison(renamed, tmp_path)
    assert json.loads(json_file.read_text(encoding="utf-8"))["dataset"] == r"[red] k\xe4fer"
    console = Console(width=200)
    with console.capture() as captured:
        console.print(comparison_report.comparison_table(renamed))
    assert r"[red] k\xe4fer, " in captured.get()
