"""Tests every mutant of a sample, in several workspaces at the same time."""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from tests.support.mutation.coverage_map import CoverageMap
from tests.support.mutation.mutants import Mutant
from tests.support.mutation.selection import Selection, select
from tests.support.mutation.workspace import Workspace

_START_S = 20.0
_SLOWNESS = 4.0
"""A run, and each test in it, may take a start and so many times its measured duration before it counts as stuck."""


class Outcome(StrEnum):
    """What the tests made of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    NOT_COVERED = "not covered"


NOTICED = (Outcome.KILLED, Outcome.TIMEOUT)
_OUTCOMES = {0: Outcome.SURVIVED, 5: Outcome.NOT_COVERED, None: Outcome.TIMEOUT}
"""By exit code of pytest; 5: no test was found under its name."""
_TIMEOUT = re.compile(r"Failed: Timeout \(>|.*\+ Timeout \+")
"""What pytest-timeout says."""


@dataclass(frozen=True)
class Result:
    """The outcome for one mutant."""

    key: str
    path: str
    line: int
    operator: str
    before: str
    after: str
    outcome: Outcome
    tests: int
    """Number of tests that were chosen."""
    seconds: float
    failed: str = ""
    """The test that failed, or the module that could not be imported."""
    error: str = ""


class Runner:
    """Runs the chosen tests on mutants, and keeps results in a file, so that an interrupted run goes on."""

    def __init__(self, file: Path, measured: CoverageMap, workspaces: Sequence[Workspace]) -> None:
        self._file = file
        self._measured = measured
        self._workspaces: queue.Queue[Workspace] = queue.Queue()
        for workspace in workspaces:
            self._workspaces.put(workspace)
        self._processes = len(workspaces)
        self.results: dict[str, Result] = {}
        if file.exists():
            for line in file.read_text().splitlines():
                content = json.loads(line)
                self._add(Result(**{**content, "outcome": Outcome(content["outcome"])}))

    def _add(self, result: Result) -> None:
        self.results[result.key] = result

    def run(self, mutants: Sequence[Mutant], unreliable: Iterable[str] = ()) -> Iterator[Result]:
        """Yield the results as they come; tests that are not reliable are not run."""
        with ThreadPoolExecutor(self._processes) as pool:
            selections = [(mutant, select(mutant, self._measured, unreliable)) for mutant in mutants]
            futures = [pool.submit(self._result, *selection) for selection in selections]
            try:
                for future in as_completed(futures):
                    result = future.result()
                    self._add(result)
                    with self._file.open("a") as file:
                        file.write(json.dumps(asdict(result)) + "\n")
                    yield result
            finally:
                pool.shutdown(cancel_futures=True)

    def failing_without_change(self, tests: Sequence[str]) -> set[str]:
        """Return those of the tests that fail without any change too, each run after others of its file."""
        with self._workspace() as workspace:
            expected_s = sum(self._measured.seconds.get(test, 0) for test in tests)
            run = workspace.run(sorted(tests), 2 * _START_S + _SLOWNESS * expected_s + len(tests))
        return set(tests) if run.exit_code is None else set(run.failures)

    def _result(self, mutant: Mutant, selection: Selection) -> Result:
        before, after = mutant.diff
        what = (mutant.key, mutant.path, mutant.line, mutant.operator, before, after)
        if not selection.tests:
            return Result(*what, Outcome.NOT_COVERED, 0, 0)
        with self._workspace() as workspace, workspace.mutated(mutant):
            limit = f"--timeout={_START_S + _SLOWNESS * selection.longest_s}"
            run = workspace.run(selection.tests, 2 * _START_S + _SLOWNESS * selection.seconds, "-x", limit)
        outcome = _OUTCOMES.get(run.exit_code, Outcome.KILLED)
        failed, error = "", ""
        if outcome is Outcome.KILLED:
            last_line = run.output.strip().rpartition("\n")[2]
            failed, error = next(iter(run.failures.items()), ("", last_line))
        if _TIMEOUT.match(error):
            outcome = Outcome.TIMEOUT
        return Result(*what, outcome, len(selection.tests), round(run.seconds, 1), failed, error)

    @contextmanager
    def _workspace(self) -> Iterator[Workspace]:
        workspace = self._workspaces.get()
        try:
            yield workspace
        finally:
            self._workspaces.put(workspace)
