"""A recipe's record in a manifest, and changes to a recipe by the command line."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import colour_dataset
from training.errors import RecipeError
from training.recipes.load import load_recipe
from training.recipes.network import Fit
from training.recipes.schema import Recipe


def test_overrides_change_name_weights_and_passes() -> None:
    recipe = colour_dataset.recipe()
    assert recipe.with_overrides() == recipe
    assert recipe.with_overrides(name="mine") == colour_dataset.recipe(name="mine")
    weights = recipe.with_overrides(weights="file.h5").network
    assert weights is not None
    assert weights.weights == "file.h5"
    assert recipe.network is not None
    fitted = recipe.network.model_copy(update={"fit": Fit(passes=5, learning_rate=0.1)})
    passes = recipe.model_copy(update={"network": fitted}).with_overrides(passes=2).network
    assert passes is not None
    assert passes.fit == Fit(passes=2, learning_rate=0.1)
    assert recipe == colour_dataset.recipe(), "the recipe itself is unchanged"


def test_record_keeps_the_name_of_a_weights_file_but_not_its_folder() -> None:
    recipe = colour_dataset.recipe().with_overrides(weights="/home/someone/file.h5")
    record = recipe.as_record()
    assert record["network"]["weights"] == "file.h5"
    assert "someone" not in str(record)
    assert Recipe.model_validate(record) == recipe.with_overrides(weights="file.h5")


def test_recipe_without_coarser_classes_is_recorded_as_before_there_were_any() -> None:
    assert {"parents", "calibration"}.isdisjoint(colour_dataset.recipe().as_record())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, r"needs a softmax \[head\] and no \[data\]"),
        ({"head": {"kind": "softmax"}}, r"needs a softmax \[head\] and no \[data\]"),
        ({"head": None, "data": None}, r"needs a softmax \[head\] and no \[data\]"),
        ({"head": {"kind": "softmax"}, "data": None, "calibrate": False}, "contradicts calibrate = false"),
    ],
)
def test_calibration_on_photographs_needs_a_softmax_without_a_dataset(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        colour_dataset.recipe(calibration={}, **parts)


def test_overrides_for_a_missing_network_or_fit_are_rejected() -> None:
    with pytest.raises(RecipeError, match="makes no network"):
        load_recipe("cifar10").with_overrides(weights="random")
    with pytest.raises(RecipeError, match="does not fit its network"):
        colour_dataset.recipe().with_overrides(passes=1)
