"""The posts' figures beside ours: read from the store and from a comparison, never made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import published as posts
from models.artifacts.store import Store
from models.heads import Head
from models.manifests import Metrics
from models.preprocess import PreprocessSpec
from tests.support import drawn
from training.__main__ import app
from training.errors import TrainingError
from training.estimators.heads import Logistic
from training.heads import save as classifiers
from training.heads.comparison import Comparison, HeadResult
from training.heads.save import Fitted
from training.recipes import schema as recipes

_ROWS = np.random.default_rng(2).random((40, 12), np.float32)
_HEAD = Head(Logistic().fit(_ROWS, np.arange(40) % 4, 0), 1.25)


def figures(accuracy: float) -> Metrics:
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
    fitted = Fitted(_HEAD, drawn.CLASSES, {measured_on: figures(accuracy)}, {"digest": "d"}, np.array([3]))
    classifiers.save(drawn.recipe(name=name), PreprocessSpec(size=drawn.SIZE), drawn.extractor(), fitted, store)


@pytest.fixture
def comparison(tmp_path: Path) -> Path:
    ridge = HeadResult(
        kind="ridge",
        parameters={},
        cross_validated=figures(0.9),
        test=figures(0.8123),
        fit_seconds=1,
        answer_ms=1,
    )
    made = Comparison(
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
    path.write_text(made.model_dump_json())
    return path


def measured(store: Store, comparison: Path) -> dict[str, float]:
    found = posts.lines(store, comparison)
    return {line.system.source: line.measured.accuracy for line in found if line.measured}


def test_figures_come_from_the_test_set_of_a_comparison_and_from_the_newest_classifiers(
    tmp_path: Path, comparison: Path
) -> None:
    store = Store(tmp_path / "store")
    for accuracy in (0.7, 0.8):
        save(store, "cats_dogs_cnn", accuracy, "valid")
    save(store, "kangaroo_wallaby_vgg19", 0.6)
    assert measured(store, comparison) == {"ridge": 0.8123, "cats_dogs_cnn": 0.8, "kangaroo_wallaby_vgg19": 0.6}


def test_figures_of_another_set_are_not_taken_for_those(tmp_path: Path) -> None:
    save(Store(tmp_path), "kangaroo_wallaby_vgg19", 0.9, "holdout")
    assert measured(Store(tmp_path), tmp_path / "none.json") == {}


def test_the_table_has_a_row_for_each_figure_of_the_posts_and_names_the_command_of_what_is_missing(
    tmp_path: Path, comparison: Path
) -> None:
    done = CliRunner().invoke(app, ["posts", "--store", str(tmp_path / "store"), "--comparison", str(comparison)])
    assert done.exit_code == 0
    for figure in (".7357", ".7977", ".8176", ".894 (log loss .261)", ".8509"):
        assert f"| {figure}" in done.output
    assert "| **.8123** (.7723 to .8423) | .2500 | .5000 | 400 images |" in done.output
    assert "python -m training run cats_dogs_cnn" in done.output
    assert {row.count("|") for row in done.output.strip().splitlines()} == {9}


def test_a_comparison_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(TrainingError, match="training compare cifar10"):
        posts.lines(Store(tmp_path), tmp_path / "comparison.json")


def test_the_commands_name_recipes_that_there_are_and_what_these_make() -> None:
    for system in posts.SYSTEMS:
        verb, name = system.command.split()
        recipe = recipes.load(name)
        assert verb == "compare" or recipe.name == system.source
