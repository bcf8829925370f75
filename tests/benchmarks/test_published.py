"""The table of the blog posts' figures, read from the model store and from a comparison of heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.published import SYSTEMS, read_table
from models.artifacts.store import Store
from models.heads import Head
from models.manifests import Metrics
from models.preprocess import PreprocessSpec
from tests.support import colour_dataset
from training.errors import TrainingError
from training.estimators.linear import Logistic
from training.heads.comparison import HeadComparison, HeadResult
from training.heads.save import TrainedHead, save_classifier
from training.recipes.load import load_recipe

FEATURES = np.random.default_rng(2).random((40, 12), np.float32)
HEAD = Head(Logistic().fit(FEATURES, np.arange(40) % 4, 0), 1.25)


def metrics(accuracy: float) -> Metrics:
    return Metrics(
        images=400,
        accuracy=accuracy,
        accuracy_interval=(accuracy - 0.04, accuracy + 0.03),
        top5_accuracy=1.0,
        log_loss=0.25,
        expected_calibration_error=0.01,
        accuracy_by_class={},
        most_frequent=0.5,
    )


def save(store: Store, name: str, accuracy: float, measured_on: str = "test") -> None:
    head = TrainedHead(HEAD, colour_dataset.CLASSES, {measured_on: metrics(accuracy)}, {"digest": "d"}, np.array([3]))
    recipe, spec = colour_dataset.recipe(name=name), PreprocessSpec(size=colour_dataset.SIZE)
    save_classifier(recipe, spec, colour_dataset.extractor(), head, store)


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    ridge = HeadResult(
        kind="ridge",
        parameters={},
        cross_validated=metrics(0.9),
        test=metrics(0.8123),
        fit_seconds=1,
        answer_ms=1,
    )
    head_comparison = HeadComparison(
        recipe="cifar10",
        dataset="cifar10",
        digest="d",
        training_images=1,
        test_images=400,
        extractor="e@1",
        output="pooled",
        folds=5,
        seed=0,
        heads=(ridge,),
        libraries={},
    )
    path = tmp_path / "comparison.json"
    path.write_text(head_comparison.model_dump_json())
    return path


def accuracies(store: Store, comparison: Path) -> dict[str, float]:
    return {row.system.source: row.metrics.accuracy for row in read_table(store, comparison) if row.metrics}


def test_figures_come_from_the_comparison_and_the_newest_classifiers(tmp_path: Path, comparison: Path) -> None:
    store = Store(tmp_path / "store")
    for accuracy in (0.7, 0.8):
        save(store, "cats_dogs_cnn", accuracy, "valid")
    save(store, "kangaroo_wallaby_vgg19", 0.6)
    assert accuracies(store, comparison) == {"ridge": 0.8123, "cats_dogs_cnn": 0.8, "kangaroo_wallaby_vgg19": 0.6}


def test_figures_of_another_split_are_not_used(tmp_path: Path) -> None:
    save(Store(tmp_path), "kangaroo_wallaby_vgg19", 0.9, "holdout")
    assert accuracies(Store(tmp_path), tmp_path / "none.json") == {}


def test_table_has_all_published_figures_and_commands_for_missing_ones(tmp_path: Path, comparison: Path) -> None:
    options = ["--store", str(tmp_path / "store"), "--comparison", str(comparison)]
    result = CliRunner().invoke(app, ["published", *options])
    assert result.exit_code == 0
    for figure in (".7357", ".7977", ".8176", ".894 (log loss .261)", ".8509"):
        assert f"| {figure}" in result.output
    assert "| **.8123** (.7723 to .8423) | .2500 | .5000 | 400 images |" in result.output
    assert "python -m training run cats_dogs_cnn" in result.output
    assert {line.count("|") for line in result.output.strip().splitlines()} == {9}


def test_unreadable_comparison_is_an_error_with_the_command_to_run(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(TrainingError, match="training compare cifar10"):
        read_table(Store(tmp_path), tmp_path / "comparison.json")


def test_commands_name_recipes_that_produce_the_classifiers() -> None:
    for system in SYSTEMS:
        verb, name = system.command.split()
        recipe = load_recipe(name)
        assert verb == "compare" or recipe.name == system.source
