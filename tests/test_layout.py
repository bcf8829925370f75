"""Rules that the tests themselves follow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from hypothesis import settings

from tests.support.paths import ROOT

TESTS = ROOT / "tests"
MODULES = sorted(path for path in TESTS.rglob("*.py") if "vendor" not in path.parts)
TEST_FILES = [path for path in MODULES if path.name.startswith("test_")]
PACKAGES = ("app", "benchmarks", "models", "training")
BESIDE_PACKAGES = {"app/browser"}
"""Folders of tests that belong to no single package."""
MAX_NAME_LENGTH = 79
SLEEPERS = {
    "tests/support/colour_engine.py: run": "a slow engine",
    "tests/support/faulty_proof_worker.py: wait_forever": "a process that hangs",
    "tests/support/polling.py: eventually": "polls",
    "tests/support/polling.py: highest": "polls",
    "tests/support/polling.py: wait_until": "polls",
    "tests/support/raw_http.py: cpu_used_s": "measures over some time",
    "tests/support/replay_dockerfile.py: wait_until_ready": "polls, in a script that imports nothing",
    "tests/support/slow_clients.py: slowly": "a slow client",
    "tests/support/slow_server.py: do_GET": "a slow server",
    "tests/support/tiny_server.py: load": "a slow load",
    "tests/support/trace_walk.py: client": "no test",
}
"""Functions that may sleep, and why. Tests wait for events, poll, or move a clock (`tests/support/clocks.py`)."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, and those in programs that it holds as strings."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.replace(";", " ").split()
            yield from (word for before, word in pairwise(words) if before in ("from", "import"))


def test_no_module_imports_a_test_or_a_conftest() -> None:
    imports = {path: {name for name in imported_modules(path) if name.startswith("tests.")} for path in MODULES}
    assert any(imports.values())
    allowed = ("tests.support", "tests.support.")
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path, names in imports.items()
        for name in names
        if name != allowed[0] and not name.startswith(allowed[1])
    }
    assert wrong == set()


def test_names_of_tests_are_short() -> None:
    names = {
        node.name
        for path in TEST_FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    assert len(names) > 1000
    assert {name for name in names if len(name) > MAX_NAME_LENGTH} == set()


def sleeps(path: Path) -> Iterator[str]:
    """Yield the innermost function around each call of a sleep, other than `sleep(0)`, which only switches tasks."""
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for call in ast.walk(tree(path)):
        if not isinstance(call, ast.Call) or ast.unparse(call.func).rpartition(".")[2] != "sleep":
            continue
        if [ast.unparse(argument) for argument in call.args] != ["0"]:
            around = [function.name for function in functions if call in ast.walk(function)]
            yield f"{path.relative_to(ROOT)}: {around[-1] if around else ''}"


def test_only_these_functions_sleep() -> None:
    assert {place for path in MODULES for place in sleeps(path)} == set(SLEEPERS)


def test_examples_of_property_tests_have_no_time_limit() -> None:
    assert settings().deadline is None


def test_folders_of_tests_are_named_after_packages() -> None:
    folders = {path.parent.relative_to(TESTS).as_posix() for path in TEST_FILES} - {".", *BESIDE_PACKAGES}
    assert folders
    assert {folder for folder in folders if not (ROOT / folder / "__init__.py").is_file()} == set()


def test_every_package_has_a_folder_of_tests() -> None:
    assert {name for name in PACKAGES if not list((TESTS / name).rglob("test_*.py"))} == set()
