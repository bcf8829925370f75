"""The shipped recipes are valid and have the settings of the blog posts that they reproduce."""

from __future__ import annotations

import pytest

from models.artifacts.store import check_name
from models.preprocess import default_decode_margin
from training.recipes.load import RECIPES_FOLDER, load_recipe
from training.recipes.network import EarlyStopping, Warp
from training.recipes.schema import Recipe

SHIPPED = sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_is_complete(name: str) -> None:
    recipe = load_recipe(name)
    check_name(recipe.name)
    check_name(recipe.extractor.name)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe, "a manifest stores the complete recipe"
    assert "todo" not in recipe.card.about.lower()
    if recipe.network and recipe.preprocess:
        assert recipe.preprocess.size == recipe.network.size


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_decodes_large_photos_at_a_reduced_size(name: str) -> None:
    recipe = load_recipe(name)
    tasks = recipe.network.tasks if recipe.network else ()
    specs = [*(task.preprocess for task in tasks), *([recipe.preprocess] if recipe.preprocess else [])]
    assert specs
    assert all(spec.decode_margin == default_decode_margin(spec.source_side) for spec in specs)


def test_documented_recipes_are_shipped() -> None:
    assert {"cifar10", "cifar10_stacked", "imagenet", "imagenet_inception_v3"} <= set(SHIPPED)


def test_stacked_recipe_has_the_settings_of_the_blog_post() -> None:
    recipe = load_recipe("cifar10_stacked")
    assert recipe.network is not None
    assert (recipe.network.architecture, recipe.network.size, recipe.network.weights) == (
        "inception_v3",
        299,
        "imagenet",
    )
    assert recipe.head is not None
    assert recipe.head.model_dump() == {"kind": "xgboost", "n_estimators": 100, "max_depth": 4, "learning_rate": 0.1}


def test_small_cnn_has_the_settings_of_the_blog_post_except_for_a_decaying_rate() -> None:
    recipe = load_recipe("cats_dogs_cnn")
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


def test_vgg19_has_the_settings_of_the_blog_post() -> None:
    recipe = load_recipe("kangaroo_wallaby_vgg19")
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
