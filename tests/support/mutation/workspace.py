"""A copy of the checkout in which pytest runs, and the end of everything that it started."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.mutation import pytest_plugin, tree
from tests.support.mutation.mutants import Mutant

_MARK = "MUTATION_RUN"
_MAX_DATA_BYTES = 8 * 1024**3
"""Memory of each process: a mutant may allocate without an end."""
_PYTEST = ("-m", "pytest", "-p", pytest_plugin.__name__, "-p", "no:cacheprovider", "-q", "--hypothesis-seed=0")


@dataclass(frozen=True)
class Run:
    """What came of a run of pytest."""

    exit_code: int | None
    """None if it ran out of time."""
    failures: dict[str, str]
    """First line of the error by test, or by module that could not be imported."""
    seconds: float
    output: str


class Workspace:
    """A copy of the checkout; not for several runs at the same time."""

    def __init__(self, folder: Path) -> None:
        """Copy the checkout into the folder, which must not exist."""
        self._folder = folder
        self._root = folder / "tree"
        tree.copy(self._root)

    @contextlib.contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """Have a file changed while the block runs."""
        path = self._root / mutant.path
        path.write_text(mutant.mutated, encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(mutant.source, encoding="utf-8")

    def run(self, tests: Sequence[str], timeout_s: float, *options: str) -> Run:
        """Run these tests in this order, then kill every process that they left."""
        chosen = self._folder / "tests.json"
        chosen.write_text(json.dumps(list(tests)))
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        return self.pytest(timeout_s, *options, "-n0", *files, **{pytest_plugin.TESTS: str(chosen)})

    def pytest(self, timeout_s: float, *options: str, **variables: str) -> Run:
        """Run pytest with these options and environment variables."""
        temporary = self._folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        failures, output = self._folder / "failures.json", self._folder / "output.txt"
        failures.unlink(missing_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("APP_", "MUTATION_"))}
        environment = {
            **kept,
            "HYPOTHESIS_STORAGE_DIRECTORY": str(temporary / "hypothesis"),
            "OMP_WAIT_POLICY": "passive",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(temporary),
            _MARK: str(self._folder),
            pytest_plugin.FAILURES: str(failures),
            **variables,
        }
        start = time.monotonic()
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *_PYTEST, *options],
                cwd=self._root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            if sys.platform == "linux":
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (_MAX_DATA_BYTES, _MAX_DATA_BYTES))
            try:
                exit_code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                exit_code = None
            finally:
                self._kill_all(process)
        seconds = time.monotonic() - start
        found = json.loads(failures.read_text()) if failures.exists() else {}
        return Run(exit_code, found, seconds, output.read_text(errors="replace"))

    def _kill_all(self, process: subprocess.Popen[bytes]) -> None:
        """Kill the group of pytest, and what has left the group, which the environment of its processes tells."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        mark = f"{_MARK}={self._folder}\0".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in environment.read_bytes():
                    os.kill(int(environment.parent.name), signal.SIGKILL)
