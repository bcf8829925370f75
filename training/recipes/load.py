"""Finds and reads recipes."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from training.errors import RecipeError
from training.recipes.schema import Recipe

RECIPES_FOLDER = Path(__file__).parent


def load_recipe(recipe: str) -> Recipe:
    """Read a recipe by its path or by the name of a shipped one.

    Raises:
        RecipeError: there is no such recipe, or it is invalid; the message names each invalid key.
    """
    path = find_recipe(recipe)
    try:
        return Recipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(": ".join((*map(str, item["loc"]), item["msg"])) for item in error.errors())
        raise RecipeError(f"{path} is not a valid recipe: {problems}") from error


def find_recipe(recipe: str) -> Path:
    """Return the file of a recipe given by path or name.

    Raises:
        RecipeError: there is no such recipe; the message lists the shipped ones.
    """
    for path in (Path(recipe), RECIPES_FOLDER / f"{recipe}.toml"):
        if path.is_file():
            return path
    shipped = ", ".join(sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml")))
    raise RecipeError(f"There is no recipe {recipe!r}. Give the path of a TOML file, or one of: {shipped}.")
