"""The tests that may notice a mutant, the likeliest first.

Measured lines are more exact than the layout of the folders: a line of the scheduler is tested in seven files, and the
quickest of these tests take milliseconds. Code that runs in child processes is not measured; for it the tests
whose file is named after the module are taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath

from tests.support.mutation import tree
from tests.support.mutation.coverage_map import CoverageMap
from tests.support.mutation.mutants import Mutant
from tests.support.mutation.places import Places
from tests.support.paths import ROOT

_MAX_S = 40.0
"""Measured duration of the tests for one mutant; most are killed early, so 300 take less than an hour on two cores."""
_MAX_NAMESAKES_S = 5.0


@dataclass(frozen=True)
class Selection:
    """Tests in their order."""

    tests: list[str]
    seconds: float
    """Measured duration."""
    longest_s: float
    """Measured duration of the longest."""


def select(mutant: Mutant, measured: CoverageMap, excluded: Iterable[str] = ()) -> Selection:
    """Return the tests that execute the changed lines, then others of the module, as far as their time allows."""
    covering = {test for path, lines in _lines(mutant) for test in measured.tests_of(path, lines)}
    namesakes = {test for test in measured.fixtures if _distance(test, mutant.path) == 0}
    if not covering and not namesakes:
        namesakes = {test for test in measured.fixtures if _distance(test, mutant.path) == 1}
    chosen, seconds = _first(covering - {*excluded}, mutant.path, measured, _MAX_S)
    others, more_s = _first(namesakes - covering - {*excluded}, mutant.path, measured, _MAX_NAMESAKES_S)
    chosen += others
    files = list(dict.fromkeys(_file(test) for test in chosen))
    ordered = sorted(chosen, key=lambda test: files.index(_file(test)))
    return Selection(ordered, seconds + more_s, max((_cost(test, measured) for test in chosen), default=0))


def _first(tests: Iterable[str], path: str, measured: CoverageMap, max_s: float) -> tuple[list[str], float]:
    """Return the nearest and quickest tests that take at most `max_s` together, and how long they take."""
    chosen: list[str] = []
    fixtures: set[str] = set()
    total_s = 0.0
    for test in sorted(tests, key=lambda test: (_distance(test, path), _cost(test, measured))):
        needed = {*measured.fixtures[test]} - fixtures
        more_s = measured.seconds[test] + sum(measured.seconds.get(fixture, 0) for fixture in needed)
        if total_s + more_s <= max_s or not chosen:
            chosen.append(test)
            fixtures |= needed
            total_s += more_s
    return chosen, total_s


def _cost(test: str, measured: CoverageMap) -> float:
    """Return the duration of a test and of the fixtures that it needs."""
    return measured.seconds[test] + sum(measured.seconds.get(fixture, 0) for fixture in measured.fixtures[test])


def _file(test: str) -> str:
    return test.partition("::")[0]


def _distance(test: str, path: str) -> int:
    """Return 0 for tests of the module itself, 1 for those in its folder, 2 for those of its package, else 3."""
    file, module = PurePosixPath(_file(test)), PurePosixPath("tests") / path
    if file.parent == module.parent:
        return int(not re.fullmatch(rf"test_{module.stem.strip('_')}(_.*)?", file.stem))
    return 2 if file.parts[:2] == module.parts[:2] else 3


def _lines(mutant: Mutant) -> Iterator[tuple[str, Iterable[int]]]:
    """Yield files and lines that run what was changed.

    What runs at the import, such as a constant, is noticed where its name is used; what has no name, by any test of
    the file.
    """
    if mutant.statement.is_in_function or mutant.statement.body:
        yield mutant.path, mutant.statement.body or mutant.statement.lines
        return
    uses = list(_uses(mutant.statement.names, set()))
    yield from uses or [(mutant.path, range(1, 100_000))]


def _uses(names: Iterable[str], known: set[str]) -> Iterator[tuple[str, Iterable[int]]]:
    """Yield the lines of functions that use these names, or names that are assigned from them."""
    for name in set(names) - known:
        known.add(name)
        word = re.compile(rf"\b{re.escape(name)}\b")
        for path, source in _sources().items():
            if not word.search(source):
                continue
            for number, line in enumerate(source.splitlines(), start=1):
                if word.search(line) and (statement := _places(path).statement(number)):
                    if statement.is_in_function or statement.body:
                        yield path, statement.body or statement.lines
                    else:
                        yield from _uses(statement.names, known)


@cache
def _sources() -> dict[str, str]:
    paths = [path for path in tree.files(*tree.PACKAGES) if path.suffix == ".py"]
    return {path.as_posix(): (ROOT / path).read_text(encoding="utf-8") for path in paths}


@cache
def _places(path: str) -> Places:
    return Places(_sources()[path])
