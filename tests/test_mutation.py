"""The tool behind `make mutants`: its operators, its sample, and a whole run in a small checkout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from cosmic_ray.mutating import mutate_code

from tests.support.mutation import mutants, report
from tests.support.mutation.mutants import mutants_of
from tests.support.mutation.operators import KINDS, operator
from tests.support.mutation.places import Places
from tests.support.mutation.runner import Outcome, Result
from tests.support.paths import ROOT

NAMES = [name for names in KINDS.values() for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_operator_makes_the_change_of_its_example(name: str) -> None:
    examples = operator(name).examples()
    assert examples
    for example in examples:
        if example.post_mutation_code != example.pre_mutation_code:
            changed = mutate_code(example.pre_mutation_code, operator(name), example.occurrence)
            assert changed.replace(" ", "") == example.post_mutation_code.replace(" ", "")


def changes(source: str, name: str) -> list[str]:
    return [
        mutate_code(source, operator(name), mutant.occurrence).strip()
        for mutant in mutants_of("app/module.py", source)
        if mutant.operator == name
    ]


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("larger_number", "x = 0.5 + y[3]", ["x = 1.0 + y[3]", "x = 50.0 + y[3]"]),
        ("larger_number", "x = 1", ["x = 100"]),
        ("NumberReplacer", "x = 5000 + 64 * 1024", []),
        ("NumberReplacer", "x = 64", ["x = 65", "x = 63"]),
        ("doubled_quantity", "f(limit_s=limit_s)", ["f(limit_s=(limit_s * 2))"]),
        ("doubled_quantity", "self.limit_s = 1", []),
        ("doubled_quantity", "x = self.size if size else 1", ["x = (self.size * 2) if size else 1"]),
        (
            "doubled_quantity",
            "x = size > 0 or size is None or size > 1",
            ["x = size > 0 or size is None or (size * 2) > 1"],
        ),
        ("dropped_keyword_argument", "f(a=1, b=2)", ["f(b=2)", "f(a=1)"]),
        ("dropped_keyword_argument", "f(**a, help=2)", []),
        ("dropped_operand", "x = a or b", ["x = b", "x = a"]),
        ("dropped_statement", "if a:\n    x += 1", ["if a:\n    pass"]),
        ("dropped_statement", "if a:\n    raise", ["if a:\n    pass"]),
        ("dropped_statement", "x = f()", []),
        ("returned_none", "def f():\n    return False", []),
        ("moved_slice", "x[a:3]", ["x[(a) + 1:3]", "x[(a) - 1:3]"]),
        ("ReplaceBinaryOperator_Mul_Div", "def f(a, *, b):\n    return a * b", ["def f(a, *, b):\n    return a / b"]),
    ],
)
def test_operator_changes_only_what_it_means(name: str, source: str, expected: list[str]) -> None:
    assert changes(f"{source}\n", name) == expected


def test_what_nothing_can_notice_is_not_changed() -> None:
    source = '''
        """A docstring of 3 lines."""
        from typing import TYPE_CHECKING

        if TYPE_CHECKING:
            LIMIT = 3
        __all__ = ["a"] * 2
        Number = int | float


        @dataclass(frozen=True)
        class A:
            x: int | None = None


        def f(a: Literal[1], *b: int | str) -> int | None:
            assert a > 1
            log.info("×", seconds=a * 2)
            return zip(a, b, strict=True)
    '''
    assert {mutant.operator for mutant in mutants_of("app/module.py", dedent(source))} == {"returned_none"}


def test_place_after_wide_characters_is_found() -> None:
    places = Places('f("×××", help=1, limit=2)\n')
    assert places.is_excluded((1, 14))
    assert not places.is_excluded((1, 23))


def test_statement_of_a_place_is_the_innermost() -> None:
    source = "LIMIT = (\n    3\n)\ndef f(\n    a=LIMIT,\n):\n    if a:\n        return (\n            1\n        )\n"
    statements = [Places(source).statement(line) for line in range(1, 11)]
    assert all(statements)
    lines = [each.lines for each in statements if each]
    assert lines == [range(1, 4)] * 3 + [range(4, 7)] * 3 + [range(7, 8)] + [range(8, 11)] * 3
    assert statements[1]
    assert statements[1].names == {"LIMIT"}
    assert statements[4]
    assert statements[4].body == range(7, 11)


ONLY = ("app/batching",)


def test_sample_depends_on_its_seed_and_not_on_its_size() -> None:
    first = mutants.draw(20, 1, ONLY)
    assert len({(mutant.path, mutant.line) for mutant in first}) == 20
    assert first == mutants.draw(20, 1, ONLY)
    assert {mutant.key for mutant in first} < {mutant.key for mutant in mutants.draw(30, 1, ONLY)}
    assert {mutant.key for mutant in first} != {mutant.key for mutant in mutants.draw(20, 2, ONLY)}


def test_key_of_a_mutant_survives_changes_of_other_lines() -> None:
    def keys(source: str) -> list[str]:
        return [mutant.key for mutant in mutants_of("app/module.py", source) if mutant.operator == "AddNot"]

    line = "if a: pass\n"
    assert keys(f"x = 1\nif b: pass\n{line}")[1:] == keys(line)


def result(outcome: Outcome, after: str = "x <= 1") -> Result:
    return Result("key", "app/batching/queue.py", 3, "operator", "x < 1", after, outcome, 1, 1)


def test_report_gives_the_score_and_the_reasons_of_survivors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "accepted", lambda: {("app/batching/queue.py", "x < 1", "x <= 1"): "never 1"})
    results = [
        result(Outcome.KILLED),
        result(Outcome.TIMEOUT),
        result(Outcome.SURVIVED),
        result(Outcome.SURVIVED, "x > 1"),
    ]
    text = report.render(results, 7)
    assert "Mutation score: .50 (2 of 4, seed 7)" in text
    assert "| app/batching | 4 | 1 | 1 | 2 | 0 |" in text
    assert "- x < 1\n+ x <= 1\n```\n\nAccepted: never 1" in text
    assert "- x < 1\n+ x > 1\n```\n\nNo reason is given." in text
    assert report.lapsed(results) == []
    assert report.lapsed([replace(each, outcome=Outcome.KILLED) for each in results]) == [
        "app/batching/queue.py: x < 1"
    ]


MODULE = """
LIMIT = 8


def is_allowed(count):
    return count < LIMIT


def is_forbidden(count):
    return count < 0
"""
TEST = """
import pytest
from app.limits import is_allowed


@pytest.fixture(scope="module")
def is_small_allowed():
    return is_allowed(3)


def test_small_is_allowed(is_small_allowed):
    assert is_small_allowed


def test_large_is_not_allowed():
    assert not is_allowed(8)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a small checkout with the tool."""
    support = tmp_path / "tests" / "support"
    shutil.copytree(ROOT / "tests" / "support" / "mutation", support / "mutation")
    shutil.copy(ROOT / "tests" / "support" / "paths.py", support)
    files = {
        "README.md": "# A service\nMutation score: unknown\n",
        "app/limits.py": MODULE,
        "docs/index.md": "",
        "models/empty.py": "",
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["slow", "quiet", "browser"]',
        "tests/app/test_limits.py": TEST,
        "tests/models/test_empty.py": "",
        "tests/training/test_empty.py": "",
        "training/empty.py": "",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_run_reports_what_the_tests_notice_and_resumes(checkout: Path) -> None:
    def run() -> str:
        command = [sys.executable, "-m", "tests.support.mutation", "--count=3", "--update", "--processes=1"]
        return subprocess.run(command, cwd=checkout, check=True, text=True, capture_output=True).stdout

    first = run()
    assert "Measuring" in first
    assert re.findall(r"\d/3 (\w+) in .* s: (app/limits.py:\d+)", first) == [
        ("killed", "app/limits.py:2"),
        ("killed", "app/limits.py:6"),
        ("survived", "app/limits.py:10"),
    ]
    survivor = "`app/limits.py`, line 10\n\n```diff\n- return count < 0"
    assert survivor in (checkout / "docs" / "mutants.md").read_text()
    line = "Mutation score: .67 (2 of 3, seed 1): [survivors](docs/mutants.md)"
    assert (checkout / "README.md").read_text() == f"# A service\n{line}\n"
    assert (checkout / "app" / "limits.py").read_text() == MODULE
    again = run()
    assert again.startswith("\nMutation score: .67 (2 of 3, seed 1)")
