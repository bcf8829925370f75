"""Comparison of heads on the same features, with the metrics that a run would give."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from models.artifacts.store import Store
from models.console.progress import silent
from models.preprocess import PreprocessSpec
from tests.support import colour_dataset
from tests.support.colour_engine import ColourEngine
from training.data.dataset import load_dataset
from training.errors import DatasetError, RecipeError
from training.evaluation import metrics
from training.evaluation.ledger import ledger_of
from training.evaluation.seen import SeenImages, to_keys
from training.heads import fit as fitting
from training.heads.comparison import HeadComparison, compare_heads
from training.heads.inputs import HeadInputs
from training.partition.partition import TEST, Partition
from training.partition.record import Record, Stage, Use
from training.recipes.data import DatasetSpec
from training.reporting import comparison as comparison_report
from training.runtime.context import RunContext

RECIPE = colour_dataset.recipe(head={"kind": "logistic", "C": 0.5})


@pytest.fixture(scope="module")
def inputs(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> HeadInputs:
    folder = tmp_path_factory.mktemp("compared")
    ctx = RunContext(Store(folder / "store"), silent, lambda line: None, colours, folder / "cache")
    data = Partition(load_dataset(DatasetSpec(path="colours"), colours))
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
    assert compared.digest == inputs.partition.dataset.digest


def test_recipe_head_keeps_its_parameters_and_others_have_defaults(compared: HeadComparison) -> None:
    ridge, logistic = compared.heads
    assert ridge.parameters == {"alpha": 1e-5}
    assert logistic.parameters == {"C": 0.5, "max_iter": 300}


def test_test_metrics_are_those_of_a_run(compared: HeadComparison, inputs: HeadInputs) -> None:
    partition = inputs.partition.recorded_by(Record())
    head, _ = fitting.fit_head(RECIPE, partition, inputs.extractor, inputs.extract, print)
    test = partition.hand_out(Stage.REPORT, TEST, Use.MEASURE)
    probabilities = head.predict_proba(inputs.extract(test, "test set"))
    assert compared.heads[1].test == metrics.measure(probabilities, test.labels, partition.dataset.class_names)


def test_all_heads_share_the_features(compared: HeadComparison, inputs: HeadInputs) -> None:
    engine = inputs.extractor.engine
    assert isinstance(engine, ColourEngine)
    assert engine.image_count == 240


def test_without_a_test_set_there_is_only_cross_validation(inputs: HeadInputs) -> None:
    alone = replace(inputs, partition=Partition(replace(inputs.partition.dataset, test=None)))
    comparison = compare_heads(RECIPE, alone, ["ridge"], folds=2)
    assert comparison.heads[0].test is None
    best, note = comparison.notes
    assert best == f"Best by cross-validation: ridge, {comparison.heads[0].cross_validated.accuracy:.4f}"
    assert note.startswith("cross-validated: ")
    assert comparison_report.comparison_table(comparison).row_count == 1
    comparison_report.plot_comparison(comparison)


def test_test_set_that_is_measured_once_is_not_measured(
    inputs: HeadInputs, compared: HeadComparison, tmp_path: Path
) -> None:
    extractor, dataset = colour_dataset.extractor(), inputs.partition.dataset
    engine = extractor.engine
    assert isinstance(engine, ColourEngine)
    ctx = replace(inputs.ctx, cache=tmp_path, store=Store(tmp_path / "store"))
    fresh = replace(inputs, partition=Partition(dataset, test_once=True), extractor=extractor, ctx=ctx)
    comparison = compare_heads(RECIPE, fresh, ["ridge", "logistic"], folds=4)
    assert engine.image_count == len(dataset.train), "not even its features are extracted"
    assert [head.test for head in comparison.heads] == [None, None]
    assert (comparison.test_images, comparison.digest) == (0, compared.digest)
    assert [head.cross_validated for head in comparison.heads] == [head.cross_validated for head in compared.heads]
    best, note, _ = comparison.notes
    assert best.startswith("Best by cross-validation: ")
    assert note == "The test set was not measured: this recipe measures it once (test_once), by training run."
    assert dataset.test is not None
    assert ledger_of(ctx).of(dataset.test.digest) == []
    without = compare_heads(
        RECIPE, replace(fresh, partition=Partition(replace(dataset, test=None), test_once=True)), ["ridge"], folds=2
    )
    assert without.untested == "", "there is no test set to skip"


def test_images_that_look_alike_stay_in_one_fold(inputs: HeadInputs) -> None:
    """All blue images are one group, which cannot be in two folds."""
    dataset = inputs.partition.dataset
    blue = {digest: 1 for digest, label in zip(dataset.train.digests, dataset.train.labels, strict=True) if label == 0}
    with pytest.raises(DatasetError, match="'blue' has 1 training images, too few for 2 folds"):
        compare_heads(RECIPE, replace(inputs, partition=Partition(dataset, blue)), ["ridge"], folds=2)


def test_comparison_says_how_often_its_sets_were_measured_before(inputs: HeadInputs, tmp_path: Path) -> None:
    fresh = replace(inputs, ctx=replace(inputs.ctx, store=Store(tmp_path)))
    first, second = (
        compare_heads(RECIPE, replace(fresh, partition=fresh.partition.recorded_by(Record())), ["ridge"], folds=2)
        for _ in range(2)
    )
    for name in ("cross-validated", "test"):
        assert f"{name}: no earlier measurement of it is recorded" in first.notes
        assert f"{name}: measured once before, by compare colours" in second.notes


def test_comparison_counts_the_images_that_the_network_was_fitted_on(inputs: HeadInputs) -> None:
    dataset = inputs.partition.dataset
    assert dataset.test is not None
    fitted = [*dataset.train.digests[:30], *dataset.test.digests[:2]]
    seen = SeenImages({"fit.network": np.unique(to_keys(fitted))})
    comparison = compare_heads(RECIPE, replace(inputs, seen=seen), ["ridge"], folds=2)
    note = "optimistic: the network or its initial weights had been fitted on {} of its {} images"
    assert comparison.optimistic == f"cross-validated: {note.format(30, 160)}"
    assert f"test: {note.format(2, 80)}" in comparison.notes


def test_unknown_kind_of_head_is_rejected_before_any_work(inputs: HeadInputs) -> None:
    with pytest.raises(RecipeError, match="There is no head 'softmax'"):
        compare_heads(RECIPE, inputs, ["ridge", "softmax"])


def test_comparison_is_written_as_a_table_a_plot_and_json(compared: HeadComparison, tmp_path: Path) -> None:
    record = compared.sets["cross-validated"].model_copy(update={"fitted_by_network": 7})
    warned = compared.model_copy(update={"sets": {"cross-validated": record}})
    assert warned.optimistic
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
    assert warned.optimistic in warned.notes


def test_comparison_on_a_dataset_with_an_unusual_name_is_written(compared: HeadComparison, tmp_path: Path) -> None:
    renamed = compared.model_copy(update={"dataset": os.fsdecode(b"[red] k\xe4fer")})
    json_file, _ = comparison_report.write_comparison(renamed, tmp_path)
    assert json.loads(json_file.read_text(encoding="utf-8"))["dataset"] == r"[red] k\xe4fer"
    console = Console(width=200)
    with console.capture() as captured:
        console.print(comparison_report.comparison_table(renamed))
    assert r"[red] k\xe4fer, " in captured.get()
