"""Recipes: those that are shipped are whole, and what is wrong with others is said in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.artifacts.store import check_name
from tests.support import drawn
from training.errors import RecipeError
from training.network.augment import Warp
from training.network.early_stopping import EarlyStopping
from training.recipes import schema as recipes
from training.recipes.schema import RECIPES, Fit, Recipe

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.toml"))


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_whole(name: str) -> None:
    recipe = recipes.load(name)
    check_name(recipe.name)
    check_name(recipe.extractor.name)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe, "a manifest keeps all of it"
    assert "todo" not in recipe.card.about.lower()
    if recipe.network and recipe.preprocess:
        assert recipe.preprocess.size == recipe.network.size


def test_the_recipes_that_are_promised_are_there() -> None:
    assert {"cifar10", "cifar10_stacked", "imagenet", "tiny_imagenet"} <= set(SHIPPED)


def test_the_stacked_recipe_is_the_one_of_the_post() -> None:
    recipe = recipes.load("cifar10_stacked")
    assert recipe.network is not None
    assert (recipe.network.architecture, recipe.network.size, recipe.network.weights) == (
        "inception_v3",
        299,
        "imagenet",
    )
    assert recipe.head is not None
    assert recipe.head.model_dump() == {"kind": "xgboost", "n_estimators": 100, "max_depth": 4, "learning_rate": 0.1}


def test_the_small_network_is_fitted_as_in_the_post_but_for_a_falling_rate() -> None:
    recipe = recipes.load("cats_dogs_cnn")
    assert recipe.network is not None
    assert recipe.network.fit is not None
    (task,), fit = recipe.network.tasks, recipe.network.fit
    assert (recipe.network.architecture, recipe.network.size, fit.dropout) == ("small_cnn", 150, 0.3)
    assert (fit.optimizer, fit.learning_rate, fit.beta_2, fit.rate, fit.clip_norm) == (
        "adam",
        0.001,
        0.999,
        "cosine",
        0,
    )
    assert (fit.passes, task.batch, task.sigmoid, fit.label_smoothing) == (50, 16, True, 0)
    assert fit.stop == EarlyStopping(measure="log_loss", patience=5)
    assert fit.flip
    assert task.warp == Warp(rotation=40, shift=0.2, shear=0.2, zoom=0.2, fill="nearest")
    assert (task.preprocess, task.data.valid) == (recipe.preprocess, "valid")


def test_vgg19_is_fine_tuned_as_in_the_post() -> None:
    recipe = recipes.load("kangaroo_wallaby_vgg19")
    assert recipe.network is not None
    assert recipe.network.fit is not None
    assert recipe.data is not None
    (task,), fit = recipe.network.tasks, recipe.network.fit
    assert (recipe.network.architecture, recipe.network.size, recipe.network.weights) == ("vgg19", 224, "imagenet")
    assert (fit.frozen_layers, fit.dropout) == (5, 0.5)
    assert fit.l2 > 0
    assert (fit.optimizer, fit.learning_rate, fit.momentum, fit.rate) == ("sgd", 0.0001, 0.9, "constant")
    assert fit.stop == EarlyStopping(measure="accuracy", patience=4)
    assert recipe.data.test_once
    assert (task.preprocess, task.data.valid, task.sigmoid) == (recipe.preprocess, "valid", False)


def test_a_recipe_is_found_by_path_or_by_name(tmp_path: Path) -> None:
    assert recipes.load(written(tmp_path, drawn.RECIPE)) == drawn.recipe()
    assert recipes.find("cifar10") == RECIPES / "cifar10.toml"


def test_an_unknown_recipe_is_answered_with_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'nosuch'.*one of: .*cifar10, .*imagenet") as refused:
        recipes.load("nosuch")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            'kind = "xgboost"', 'kind = "xgboost"\ntrees = 9', r"head: xgboost: trees: Extra", id="unknown key"
        ),
        pytest.param("[card]", "[cards]", r"card: Field required; cards: Extra inputs", id="unknown part"),
        pytest.param("size = 32\nweights", 'size = "big"\nweights', r"network: size: .*integer", id="wrong type"),
        pytest.param('kind = "xgboost"', 'kind = "magic"', r"head: .*'magic'.*'xgboost'", id="unknown head"),
        pytest.param(
            '[data]\npath = "colours"', "", r"xgboost head is fitted and therefore needs \[data\]", id="no data"
        ),
        pytest.param("[preprocess]\nsize = 32", "", r"\[head\] needs a \[preprocess\]", id="no preprocess"),
        pytest.param("size = 32\nweights", "size = \nweights", r"no valid TOML: .*line 6", id="no TOML"),
        pytest.param("", None, r"no valid TOML: .*decode", id="no text"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, old: str, new: str | None, expected: str) -> None:
    assert old in drawn.RECIPE
    path = written(tmp_path, drawn.RECIPE if new is None else drawn.RECIPE.replace(old, new))
    if new is None:
        Path(path).write_bytes(b'name = "\xff"')
    with pytest.raises(RecipeError) as refused:
        recipes.load(path)
    assert re.search(expected, str(refused.value))
    assert str(refused.value).startswith(path)
    assert "\n" not in str(refused.value)


def test_a_task_of_another_size_than_its_network_is_refused(tmp_path: Path) -> None:
    task = '[[network.tasks]]\ntop = "t"\nbatch = 8\ndata = { path = "t" }\npreprocess = { size = 48 }\n[extractor]'
    with pytest.raises(RecipeError, match="task t gives 48 px to a network of 32 px"):
        recipes.load(written(tmp_path, drawn.RECIPE.replace("[extractor]", task)))


def test_a_batch_that_does_not_come_out_in_parts_is_refused(tmp_path: Path) -> None:
    fit = "[network.fit]\npasses = 1\nlearning_rate = 0.1\nparts = 3\n"
    task = '[[network.tasks]]\ntop = "t"\nbatch = 8\ndata = { path = "t" }\npreprocess = { size = 32 }\n[extractor]'
    with pytest.raises(RecipeError, match="task t has a batch of 8, which is no multiple of 3 parts"):
        recipes.load(written(tmp_path, drawn.RECIPE.replace("[extractor]", fit + task)))


def test_the_command_line_changes_name_weights_and_passes() -> None:
    recipe = drawn.recipe()
    assert recipe.changed() == recipe
    assert recipe.changed(name="mine") == drawn.recipe(name="mine")
    weights = recipe.changed(weights="file.h5").network
    assert weights is not None
    assert weights.weights == "file.h5"
    assert recipe.network is not None
    fitted = recipe.network.model_copy(update={"fit": Fit(passes=5, learning_rate=0.1)})
    passes = recipe.model_copy(update={"network": fitted}).changed(passes=2).network
    assert passes is not None
    assert passes.fit == Fit(passes=2, learning_rate=0.1)
    assert recipe == drawn.recipe(), "the recipe itself stays"


def test_a_manifest_keeps_the_name_of_a_weights_file_and_not_where_it_lay() -> None:
    recipe = drawn.recipe().changed(weights="/home/somebody/file.h5")
    record = recipe.record()
    assert record["network"]["weights"] == "file.h5"
    assert "somebody" not in str(record)
    assert Recipe.model_validate(record) == recipe.changed(weights="file.h5")


def test_what_a_recipe_does_not_do_cannot_be_changed() -> None:
    with pytest.raises(RecipeError, match="makes no network"):
        recipes.load("cifar10").changed(weights="random")
    with pytest.raises(RecipeError, match="does not fit its network"):
        drawn.recipe().changed(passes=1)
