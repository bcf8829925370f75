"""Figures in Markdown documents: where they are, and comparison with the values that they state."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT

_UNITS = (
    "%|ms|s|seconds|minutes|GB|MB|kB|KiB|MiB|GiB|images/s|requests/s|points|percentage points|bytes|characters|million"
)
_NUMBER = r"\d[\d,]*(?:\.\d+)?|\.\d+"
_FIGURE = re.compile(rf"(?<![\w.,/:=@-])(?:\d[\d,]*\.\d+|\.\d+|\d[\d,]*(?=[ ]?(?:{_UNITS})(?!\w)))(?![\w]|\.\d)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Mult: operator.mul,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Pow: operator.pow,
    ast.LShift: lambda value, bits: int(value) << int(bits),
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Figure:
    """A number with a unit or a decimal point, its position in its document, and the heading above it."""

    text: str
    start: int
    section: str


@dataclass(frozen=True)
class Claim:
    """Words of a document with `{}` in place of figures, and the values of these from their source."""

    document: str
    words: str
    values: tuple[float, ...]

    @property
    def pattern(self) -> re.Pattern[str]:
        parts = (r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in self.words.split("{}"))
        return re.compile(rf"({_NUMBER})".join(parts))


def claim(document: str, words: str, *values: float) -> Claim:
    """Return a claim; the document is given relative to the root of the project."""
    return Claim(document, words, values)


def text_of(document: str) -> str:
    """Return a document in which code is replaced by spaces: its figures are not claims."""
    return _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), (ROOT / document).read_text(encoding="utf-8"))


def figures_in(text: str) -> Iterator[Figure]:
    """Yield every number with a unit, and every number with a decimal point."""
    headings = [(match.start(), match[1]) for match in _HEADING.finditer(text)]
    for match in _FIGURE.finditer(text):
        section = next((title for start, title in reversed(headings) if start < match.start()), "")
        yield Figure(match[0], match.start(), section)


def states(text: str, value: float) -> bool:
    """Return whether a figure is a value, rounded to the decimals that the figure shows."""
    shown = Decimal(text.replace(",", ""))
    unit = Decimal(1).scaleb(int(shown.as_tuple().exponent))
    return abs(Decimal(repr(float(value))) - shown) <= unit / 2


@cache
def constant(path: str, name: str) -> float:
    """Return a numeric constant of a module, read without importing it."""
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            names, values = _elements(node.targets[0]), _elements(node.value)
            for target, value in zip(names, values, strict=False):
                if isinstance(target, ast.Name) and target.id == name:
                    return _number(path, value)
    raise AssertionError(f"{path} has no constant {name}")


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _number(path: str, node: ast.AST | None) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return constant(path, name)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_number(path, left), _number(path, right))
    raise AssertionError(f"{path}: {ast.dump(node) if node else node} is no number")


def documents() -> list[str]:
    """Return the documents whose figures are compared, relative to the root of the project."""
    paths = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [Path(path).relative_to(ROOT).as_posix() for path in paths]
