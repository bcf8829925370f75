"""`python -m tests.support.mutation`: change the code, one place at a time, and run the tests; `make mutants`.

A weighted sample of changes is drawn (`weights.toml`). Each is made alone in a copy of the checkout, where the tests
that execute the changed line run until the first one fails. Which tests these are is measured first, once for each
state of the checkout. Results are kept in `cache/mutants`, so the same command goes on after an interruption.

cosmic-ray makes the changes. Its command line runs the same tests for every mutant, which would take hours here, so
drawing, choosing tests and reporting are our own. mutmut changes only functions, which leaves out all limits that are
constants.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.mutation import report, tree
from tests.support.mutation.coverage_map import CoverageMap, measure
from tests.support.mutation.mutants import Mutant, draw
from tests.support.mutation.runner import NOTICED, Result, Runner
from tests.support.mutation.workspace import Workspace
from tests.support.paths import ROOT

_CACHE = ROOT / "cache" / "mutants"


def main(arguments: Sequence[str] | None = None) -> int:
    """Test a sample of mutants, and print or write the report; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="number of mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of paths, such as app/batching")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--update", action="store_true", help="write docs/mutants.md and the score in README.md")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no process of a test is left
    if options.update and not report.has_place_for_score():
        parser.error("README.md needs a line that begins with 'Mutation score: '")
    folder = _CACHE / tree.digest()
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        workspaces = [Workspace(Path(temporary) / str(index)) for index in range(options.processes)]
        if not (folder / "map").exists():
            print("Measuring which tests execute which lines: once for each state of the checkout, takes minutes")
            measure(folder / "map", workspaces[0], options.processes)
        runner = Runner(folder / "results.jsonl", CoverageMap(folder / "map"), workspaces)
        results = _run(runner, draw(options.count, options.seed, options.only))
    text = report.render(results, options.seed)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print(f"\n{report.score(results, options.seed)}; {(folder / 'report.md').relative_to(ROOT)}")
    for reason in report.lapsed(results):
        print(f"reason without a survivor in this sample: {reason}")
    if options.update:
        report.update(results, options.seed)
    return 0


def _run(runner: Runner, mutants: Sequence[Mutant]) -> list[Result]:
    """Test the mutants that have no result yet; repeat without it what was killed by a test that fails by itself."""
    todo, unreliable = [mutant for mutant in mutants if mutant.key not in runner.results], set[str]()
    while todo:
        for number, result in enumerate(runner.run(todo, unreliable), start=1):
            _print(f"{number}/{len(todo)}", result)
        failed = {runner.results[mutant.key].failed for mutant in todo} - {""}
        found = runner.failing_without_change(sorted(test for test in failed if "::" in test))
        unreliable |= found
        todo = [mutant for mutant in todo if runner.results[mutant.key].failed in found]
    return [runner.results[mutant.key] for mutant in mutants]


def _print(number: str, result: Result) -> None:
    print(f"{number} {result.outcome} in {result.seconds} s: {result.path}:{result.line} {result.failed}", flush=True)
    if result.outcome not in NOTICED:
        print(*(f"    {line}" for line in (*result.before.splitlines(), "->", *result.after.splitlines())), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
