"""Plugin of pytest for runs on mutated code, and for the run that measures which tests execute which lines.

Hypothesis gets no deadline and no time to shrink: both cost more than they tell here. Environment variables name:

- `MUTATION_TESTS`: a file with the tests to run, in their order. A test that is not there is left out, because its name
  may contain a constant that was changed.
- `MUTATION_FAILURES`: a file for the tests that fail, and for the modules that cannot be imported.
- `MUTATION_MAP`: a folder for the executed lines. coverage.py records them under one context for each test and one for
  each fixture that several tests share, since a test needs the lines of its fixtures too. Each process writes
  `.coverage.*`, and `tests-*.json` with the durations and fixtures of the tests that passed.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest

from tests.support.mutation.tree import PACKAGES

TESTS, FAILURES, MAP = "MUTATION_TESTS", "MUTATION_FAILURES", "MUTATION_MAP"
_EXPECTED = ["module-not-imported", "module-not-measured", "no-data-collected"]
"""Warnings of coverage.py about packages that few tests import."""
FIXTURE = "fixture "
"""Prefix of the contexts of shared fixtures."""


class LineRecorder:
    """Records lines, durations and outcomes in one process; child processes are not measured."""

    def __init__(self, folder: Path) -> None:
        """Start coverage.py."""
        self._folder = folder
        self._coverage = coverage.Coverage(
            data_file=str(folder / ".coverage"), data_suffix=True, source=list(PACKAGES), config_file=False
        )
        self._coverage.set_option("run:relative_files", True)
        self._coverage.set_option("run:core", "ctrace")  # the only one with contexts on every version of Python
        self._coverage.set_option("run:disable_warnings", _EXPECTED)
        self._coverage.start()
        self._context = ""
        self._inner_s = 0.0
        self._seconds: dict[str, float] = defaultdict(float)
        self._fixtures: dict[str, list[str]] = {}
        self._not_passed: set[str] = set()

    @contextmanager
    def _measure(self, context: str) -> Iterator[None]:
        """Record under a context; the duration of a context inside of it counts only there."""
        outer, outer_inner_s, self._inner_s = self._context, self._inner_s, 0.0
        self._context = context
        self._coverage.switch_context(context)
        start = time.perf_counter()
        try:
            yield
        finally:
            taken_s = time.perf_counter() - start
            self._seconds[context] += taken_s - self._inner_s
            self._inner_s = outer_inner_s + taken_s
            self._context = outer
            self._coverage.switch_context(outer)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        definitions = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 - not in the types of pytest
        self._fixtures[item.nodeid] = [_name(chosen[-1]) for chosen in definitions.values() if _is_shared(chosen[-1])]
        with self._measure(item.nodeid):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
        if not _is_shared(fixturedef):
            return (yield)
        with self._measure(_name(fixturedef)):
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self._not_passed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        self._coverage.save()
        tests = {
            test: {"seconds": self._seconds[test], "fixtures": fixtures}
            for test, fixtures in self._fixtures.items()
            if test not in self._not_passed
        }
        fixtures = {name: seconds for name, seconds in self._seconds.items() if name.startswith(FIXTURE)}
        file = self._folder / f"tests-{os.getpid()}.json"
        file.write_text(json.dumps({"tests": tests, "fixtures": fixtures}))


def _is_shared(fixture: pytest.FixtureDef[Any]) -> bool:
    return fixture.scope != "function"


def _name(fixture: pytest.FixtureDef[Any]) -> str:
    return f"{FIXTURE}{fixture.baseid}::{fixture.argname}"


class FailureRecorder:
    """Writes the tests that fail, with the first line of each error."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._failures: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._record(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._record(report)

    def _record(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            lines = (crash.message if crash else str(report.longrepr).strip().splitlines()[-1]).splitlines() or [""]
            self._failures[report.nodeid] = lines[0][:200]
            self._file.write_text(json.dumps(self._failures))


class TestChooser:
    """Runs only the chosen tests, in their order."""

    __test__ = False

    def __init__(self, file: Path) -> None:
        tests: list[str] = json.loads(file.read_text())
        self._order = {test: index for index, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(chosen, key=lambda item: self._order[item.nodeid])


def pytest_configure(config: pytest.Config) -> None:
    """Load the profile of Hypothesis, and register what the environment asks for."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    too_slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("mutation", deadline=None, phases=phases, suppress_health_check=too_slow)
    hypothesis.settings.load_profile("mutation")
    for variable, plugin in ((TESTS, TestChooser), (FAILURES, FailureRecorder), (MAP, LineRecorder)):
        if path := os.environ.get(variable):
            config.pluginmanager.register(plugin(Path(path)))
