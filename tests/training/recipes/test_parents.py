"""Tables of coarser classes that recipes name."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.errors import RecipeError
from training.recipes.parents import read_parents

CLASSES = ("blue", "green", "grey", "red")


def table(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "parents.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_table_is_read_in_its_order(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufefflabel\tparent\nwarm\tcolour\nred\twarm\nblue\tcolour\n")
    assert list(read_parents(str(path), CLASSES).items()) == [("warm", "colour"), ("red", "warm"), ("blue", "colour")]


def test_no_table_means_no_coarser_classes() -> None:
    assert read_parents("", CLASSES) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has to begin with a line of the columns label and parent"),
        ("red\twarm\n", "has to begin with a line of the columns label and parent"),
        ("label\tparent\nred warm\n", "line 2: write a label, a tab and the coarser class above it"),
        ("label\tparent\nred\twarm\nblue\t \n", "line 3: write a label, a tab"),
        ("label\tparent\nred\twarm\n\nblue\tcold\n", "line 3: write a label, a tab"),
        ("label\tparent\nred\twarm\nred\tcolour\n", "line 3: 'red' already has the parent 'warm'"),
        ("label\tparent\nrde\twarm\n", "does not fit the classes: 'rde' is neither a class nor above one"),
        ("label\tparent\nred\tblue\n", "does not fit the classes: 'blue' is a class"),
        ("label\tparent\nred\ta\na\tb\nb\ta\n", "does not fit the classes: 'a' is above itself: a < b < a"),
        (b"label\tparent\nred\t\xff\n", "cannot be read"),
    ],
)
def test_invalid_table_is_an_error_that_says_where(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(RecipeError) as raised:
        read_parents(str(path), CLASSES)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_missing_table_is_an_error_that_names_the_choices() -> None:
    with pytest.raises(RecipeError, match=r"nosuch\.tsv cannot be read .*`parents` is `imagenet`, or a \.tsv file"):
        read_parents("nosuch.tsv", CLASSES)


def test_imagenets_table_does_not_fit_other_classes() -> None:
    with pytest.raises(RecipeError, match=r"imagenet_parents\.tsv does not fit the classes: '.*' is neither a class"):
        read_parents("imagenet", CLASSES)
