"""The report of a run, and the line with the score in the README."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.mutation import tree
from tests.support.mutation.runner import NOTICED, Outcome, Result
from tests.support.paths import ROOT

REPORT = ROOT / "docs" / "mutants.md"
_README = ROOT / "README.md"
_SCORE = re.compile(r"^Mutation score: .*$", re.MULTILINE)
_INTRODUCTION = """# Mutants

Written by `make mutants UPDATE=1`. A mutant is one small change of the code, such as `<` for `<=`; it survives if no
test fails. {score}

"""


def accepted() -> dict[tuple[str, str, str], str]:
    """Return the reasons for survivors by path and by the line before and after the change.

    A reason lapses when its line changes.
    """
    content = tomllib.loads((ROOT / tree.ACCEPTED).read_text(encoding="utf-8"))
    return {(each["path"], each["before"], each["after"]): each["reason"] for each in content.get("accepted", [])}


def score(results: Sequence[Result], seed: int) -> str:
    """Return the sentence with the share of mutants that the tests notice."""
    noticed = sum(result.outcome in NOTICED for result in results)
    share = f"{noticed / len(results):.2f}".lstrip("0")
    return f"Mutation score: {share} ({noticed} of {len(results)}, seed {seed})"


def render(results: Sequence[Result], seed: int) -> str:
    """Return the report as Markdown: counts, then what was not noticed, then what took too long."""
    reasons = accepted()
    outcomes = Counter(result.outcome for result in results)
    lines = [_INTRODUCTION.format(score=f"{score(results, seed)}.")]
    lines += ["| package | mutants | " + " | ".join(Outcome) + " |", "|---" * (2 + len(Outcome)) + "|"]
    packages = sorted({_package(result) for result in results})
    for package in packages:
        counts = Counter(result.outcome for result in results if _package(result) == package)
        lines.append(f"| {package} | {counts.total()} | " + " | ".join(str(counts[each]) for each in Outcome) + " |")
    lines.append(f"| all | {outcomes.total()} | " + " | ".join(str(outcomes[each]) for each in Outcome) + " |")
    for outcome in (Outcome.SURVIVED, Outcome.NOT_COVERED, Outcome.TIMEOUT):
        chosen = [result for result in results if result.outcome is outcome]
        if chosen:
            lines += ["", f"## {outcome.capitalize()}"]
        for result in chosen:
            lines += ["", f"`{result.path}`, line {result.line}", "", "```diff", *_diff(result), "```"]
            if outcome not in NOTICED:
                reason = reasons.get((result.path, result.before, result.after))
                lines += ["", f"Accepted: {reason}" if reason else "No reason is given."]
    return "\n".join(lines) + "\n"


def lapsed(results: Sequence[Result]) -> list[str]:
    """Return the reasons whose line and change are not in this sample or were noticed."""
    survivors = {(each.path, each.before, each.after) for each in results if each.outcome not in NOTICED}
    return [f"{path}: {before}" for path, before, after in accepted() if (path, before, after) not in survivors]


def has_place_for_score() -> bool:
    """Return whether the README has a line for the score."""
    return bool(_SCORE.search(_README.read_text(encoding="utf-8")))


def update(results: Sequence[Result], seed: int) -> None:
    """Write the report, and the score into its line of the README."""
    readme = _README.read_text(encoding="utf-8")
    REPORT.write_text(render(results, seed), encoding="utf-8")
    line = f"{score(results, seed)}: [survivors](docs/mutants.md)"
    _README.write_text(_SCORE.sub(line, readme), encoding="utf-8")


def _package(result: Result) -> str:
    parts = Path(result.path).parts
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def _diff(result: Result) -> list[str]:
    return [
        *(f"- {line}" for line in result.before.splitlines()),
        *(f"+ {line}" for line in result.after.splitlines()),
    ]
