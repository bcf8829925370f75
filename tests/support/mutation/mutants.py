"""Mutants: single changes of the code, drawn from all possible ones."""

from __future__ import annotations

import ast
import difflib
import hashlib
import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from tests.support.mutation import tree
from tests.support.mutation.operators import KINDS, is_meant, kind_of, operator
from tests.support.mutation.places import Places, Statement
from tests.support.paths import ROOT

WEIGHTS = tomllib.loads(Path(__file__).with_name("weights.toml").read_text())


@dataclass(frozen=True)
class Mutant:
    """One operator at one place."""

    path: str
    line: int
    operator: str
    occurrence: int
    """Number of the place among those of the operator in the file."""
    key: str
    """The path, the text of the line, the operator, and a number where these are equal."""

    @cached_property
    def source(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def mutated(self) -> str:
        """Return the changed text of the file."""
        changed: str | None = mutate_code(self.source, operator(self.operator), self.occurrence)
        assert changed is not None
        return changed

    @cached_property
    def statement(self) -> Statement:
        found = Places(self.source).statement(self.line)
        assert found
        return found

    @cached_property
    def diff(self) -> tuple[str, str]:
        """Return the lines before and after the change."""
        lines = list(difflib.ndiff(self.source.splitlines(), self.mutated.splitlines()))
        before, after = ("\n".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
        return before, after

    @property
    def differs(self) -> bool:
        """Return whether the change is valid Python and changes what runs."""
        try:
            return ast.dump(ast.parse(self.mutated)) != ast.dump(ast.parse(self.source))
        except SyntaxError:
            return False

    @property
    def weight(self) -> float:
        places = [path for path in WEIGHTS["paths"] if f"{self.path}/".startswith(f"{path}/")]
        return float(WEIGHTS["paths"][max(places, key=len)] * WEIGHTS["kinds"][kind_of(self.operator)])


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of a file with this text."""
    lines, places, nodes = source.splitlines(), Places(source), list(ast_nodes(get_ast(source)))
    keys: Counter[str] = Counter()
    for name in (name for names in KINDS.values() for name in names):
        found = operator(name)
        positions = ((node, start) for node in nodes for start, _ in found.mutation_positions(node))
        for occurrence, (node, start) in enumerate(positions):
            if not places.is_excluded(start) and is_meant(name, node):
                key = f"{path}: {lines[start[0] - 1].strip()}: {name}"
                keys[key] += 1
                yield Mutant(path, start[0], name, occurrence, f"{key}: {keys[key]}")


def draw(count: int, seed: int, only: Sequence[str] = ("",)) -> list[Mutant]:
    """Return a weighted sample without replacement, at most one for each line, in the order of the files.

    Each mutant draws its own random number, from the seed and its key, so a change of the code redraws only the mutants
    of the changed lines: Efraimidis and Spirakis (2006), Weighted random sampling with a reservoir.
    """
    paths = [
        str(path) for path in tree.files(*tree.PACKAGES) if path.suffix == ".py" and str(path).startswith(tuple(only))
    ]
    sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}
    everything = [mutant for path, source in sources.items() for mutant in mutants_of(path, source) if mutant.weight]
    chosen: dict[tuple[str, int], Mutant] = {}
    for mutant in sorted(everything, key=lambda mutant: _rank(mutant, seed)):
        if len(chosen) == count:
            break
        if (mutant.path, mutant.line) not in chosen and mutant.differs:
            chosen[mutant.path, mutant.line] = mutant
    return [chosen[place] for place in sorted(chosen)]


def _rank(mutant: Mutant, seed: int) -> float:
    drawn = int.from_bytes(hashlib.sha256(f"{seed} {mutant.key}".encode()).digest()[:6], "big")
    return -math.log((drawn + 1) / 2**48) / mutant.weight
