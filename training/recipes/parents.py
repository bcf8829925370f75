"""Reads the coarser classes that a recipe names: a table with the columns `label` and `parent`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from models.hierarchy import Hierarchy
from training.errors import RecipeError
from training.runtime.names import normalized
from training.weights.imagenet_classes import PARENTS_FILE

#: Name of the shipped table, for classifiers with ImageNet's 1,000 classes.
_IMAGENET = "imagenet"
_HEADER = ["label", "parent"]


def read_parents(parents: str, classes: Sequence[str]) -> dict[str, str]:
    """Return each label with the coarser class directly above it, in the order of the table.

    Args:
        parents: as in a recipe: `imagenet`, the path of a .tsv file, or empty for none.
        classes: of the classifier.

    Raises:
        RecipeError: the table cannot be read, or does not fit the classes; the message names the label.
    """
    if not parents:
        return {}
    path = PARENTS_FILE if parents == _IMAGENET else Path(parents)
    table: dict[str, str] = {}
    for number, (label, parent) in enumerate(_read_rows(path), 2):
        if label in table:
            raise RecipeError(f"{path}, line {number}: {label!r} already has the parent {table[label]!r}.")
        table[label] = parent
    try:
        Hierarchy(classes, table)
    except ValueError as error:
        raise RecipeError(f"{path} does not fit the classes: {error}.") from error
    return table


def _read_rows(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [*csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecipeError(f"{path} cannot be read ({error}). `parents` is `imagenet`, or a .tsv file.") from error
    if header != _HEADER:
        raise RecipeError(f"{path} has to begin with a line of the columns label and parent, with a tab between them.")
    for number, row in enumerate(rows, 2):
        if len(row) != len(_HEADER) or not all(map(str.strip, row)):
            raise RecipeError(f"{path}, line {number}: write a label, a tab and the coarser class above it.")
    return [(normalized(label), normalized(parent)) for label, parent in rows]
