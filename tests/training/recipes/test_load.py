"""Recipes are found by path or name, and errors in them are reported in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import colour_dataset
from training.errors import RecipeError
from training.recipes.load import RECIPES_FOLDER, find_recipe, load_recipe


def write_recipe(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_recipe_is_loaded_by_path_or_by_name(tmp_path: Path) -> None:
    assert load_recipe(write_recipe(tmp_path, colour_dataset.RECIPE)) == colour_dataset.recipe()
    assert load_recipe(write_recipe(tmp_path, "\ufeff" + colour_dataset.RECIPE)) == colour_dataset.recipe()
    assert find_recipe("cifar10") == RECIPES_FOLDER / "cifar10.toml"


def test_error_for_an_unknown_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"'nosuch'.*one of: .*cifar10, .*imagenet") as caught:
        load_recipe("nosuch")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(
            'kind = "xgboost"', 'kind = "xgboost"\ntrees = 9', r"head: xgboost: trees: Extra", id="unknown key"
        ),
        pytest.param("[card]", "[cards]", r"card: Field required; cards: Extra inputs", id="unknown table"),
        pytest.param("size = 32\nweights", 'size = "big"\nweights', r"network: size: .*integer", id="wrong type"),
        pytest.param('kind = "xgboost"', 'kind = "magic"', r"head: .*'magic'.*'xgboost'", id="unknown head"),
        pytest.param(
            '[data]\npath = "colours"', "", r"a recipe with a xgboost head needs a \[data\] table", id="missing data"
        ),
        pytest.param("[preprocess]\nsize = 32", "", r"\[head\] needs a \[preprocess\]", id="missing preprocess"),
        pytest.param("size = 32\nweights", "size = \nweights", r"not valid TOML: .*line 6", id="invalid TOML"),
        pytest.param("", None, r"not valid TOML: .*decode", id="invalid UTF-8"),
    ],
)
def test_invalid_recipe_gives_a_one_line_error(tmp_path: Path, old: str, new: str | None, expected: str) -> None:
    assert old in colour_dataset.RECIPE
    path = write_recipe(tmp_path, colour_dataset.RECIPE if new is None else colour_dataset.RECIPE.replace(old, new))
    if new is None:
        Path(path).write_bytes(b'name = "\xff"')
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert re.search(expected, str(caught.value))
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)
