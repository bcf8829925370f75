"""Which tests execute which lines: measured once for each state of the checkout, in minutes, and kept in a folder."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import coverage

from tests.support.mutation import pytest_plugin
from tests.support.mutation.workspace import Workspace

_ARGUMENTS = (
    *("tests/app", "tests/models", "tests/training", "--ignore=tests/app/browser", "--ignore=tests/app/openapi"),
    *("-m", "not slow and not quiet and not browser"),
)
"""Tests of the mutated packages that take milliseconds to seconds."""
_MAX_S = 3600


class CoverageMap:
    """Tests that passed without a change: what each costs and which lines it executes in its own process."""

    def __init__(self, folder: Path) -> None:
        """Read what `measure` wrote."""
        self._data = coverage.CoverageData(str(folder / ".coverage"))
        self._data.read()
        self.seconds: dict[str, float] = {}
        """Duration of each test, and of each shared fixture."""
        self.fixtures: dict[str, list[str]] = {}
        """Shared fixtures of each test."""
        self._users: dict[str, set[str]] = defaultdict(set)
        for file in folder.glob("tests-*.json"):
            content = json.loads(file.read_text())
            for test, measured in content["tests"].items():
                self.seconds[test], self.fixtures[test] = measured["seconds"], measured["fixtures"]
                for fixture in measured["fixtures"]:
                    self._users[fixture].add(test)
            self.seconds.update(content["fixtures"])

    def tests_of(self, path: str, lines: Iterable[int]) -> set[str]:
        """Return the tests that execute one of these lines themselves or by one of their fixtures."""
        by_line = self._contexts(path)
        contexts = {context for line in lines for context in by_line.get(line, ())}
        through_fixtures = {test for context in contexts for test in self._users.get(context, ())}
        return (contexts & self.fixtures.keys()) | through_fixtures

    def _contexts(self, path: str) -> dict[int, list[str]]:
        return _contexts(self._data, path)


@cache
def _contexts(data: coverage.CoverageData, path: str) -> dict[int, list[str]]:
    return data.contexts_by_lineno(path)


def measure(folder: Path, workspace: Workspace, processes: int) -> None:
    """Run the tests with coverage.py; raises RuntimeError if they do not come to their end."""
    shutil.rmtree(folder, ignore_errors=True)
    unfinished = folder.with_name(f"{folder.name}-unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    run = workspace.pytest(_MAX_S, "-n", str(processes), *_ARGUMENTS, **{pytest_plugin.MAP: str(unfinished)})
    if run.exit_code not in (0, 1):  # 1: some tests failed, which are left out
        raise RuntimeError(f"The tests did not come to their end:\n{run.output[-3000:]}")
    data = coverage.CoverageData(str(unfinished / ".coverage"))
    for part in unfinished.glob(".coverage.*"):
        other = coverage.CoverageData(str(part))
        other.read()
        data.update(other)
        part.unlink()
    data.write()
    unfinished.rename(folder)
