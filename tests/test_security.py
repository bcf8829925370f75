"""SECURITY.md: what shows each defence exists, and each minimum version is the one in pyproject.toml."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache

import pytest

from tests.support.paths import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
SHOWN_BY = re.compile(r"`([^`]+)`")
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def rows(header: str) -> list[list[str]]:
    """Return the cells of each row of the table with a header."""
    table = TEXT.partition(header)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


THREATS = rows("| threat | defence | shown by |")
ADVISORIES = rows("| library | minimum | because of | shown by |")


@cache
def collected_from(path: str) -> frozenset[str]:
    """Return the names of the tests that pytest collects from a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    bodies = [tree.body] + [
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")
    ]
    functions = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def exists(reference: str) -> bool:
    """Return whether `make TARGET` or `tests/FILE.py::TEST` exists."""
    if reference.startswith("make "):
        return reference.removeprefix("make ") in MAKE_TARGETS
    path, _, name = reference.partition("::")
    is_test_file = re.fullmatch(r"tests/[\w/]*\btest_\w+\.py", path) and (ROOT / path).is_file()
    return bool(is_test_file) and name in collected_from(path)


def test_every_threat_and_advisory_names_what_shows_its_defence() -> None:
    assert len(THREATS) > 30
    assert len(ADVISORIES) >= 4
    assert [row[0] for row in THREATS + ADVISORIES if not SHOWN_BY.findall(row[-1])] == []


def test_what_shows_a_defence_exists() -> None:
    named = {reference for row in THREATS + ADVISORIES for reference in SHOWN_BY.findall(row[-1])}
    assert {reference for reference in named if not exists(reference)} == set()


@pytest.mark.parametrize(
    "reference",
    [
        "make nothing",
        "tests/app/uploads",
        "tests/app/uploads/test_budget.py",
        "tests/app/uploads/test_budget.py::test_nothing",
        "tests/app/nothing/test_budget.py::test_x",
    ],
)
def test_missing_reference_is_found(reference: str) -> None:
    assert not exists(reference)


def test_paths_in_the_text_exist() -> None:
    paths = set(re.findall(r"`((?:app|models|training|tests)/[\w/.]+\.py)(?:::\w+)?`", TEXT))
    assert paths
    assert {path for path in paths if not (ROOT / path).is_file()} == set()


def test_minimum_versions_are_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(text for texts in optional for text in texts)]
    for library, minimum, *_ in ADVISORIES:
        required = {text for text in requirements if re.match(rf"{library}(\[\w+\])?\W", text)}
        assert required, library
        assert all(f">={minimum}" in text for text in required), required
