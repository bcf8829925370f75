"""Places in a source text where a change cannot be noticed, and statements, by line and column as parso counts them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

Position = tuple[int, int]
"""Line from 1, and column in characters from 0."""
_LOGS = {"log", "logger", "logging", "warnings"}
_SILENT_KEYWORDS = {
    *("frozen", "slots", "kw_only", "eq", "repr"),  # of dataclasses
    *("daemon", "name", "strict"),
    *("alpha", "color", "dpi", "figsize", "fontsize", "layout", "linewidth", "parse_math"),  # of plots
    *("description", "examples", "help", "metavar", "rich_help_panel", "show_default", "summary", "title"),
}
_TYPES = {"NewType", "ParamSpec", "TypeVar", "cast"}


@dataclass(frozen=True)
class Statement:
    """The lines of the innermost statement at a place; of a compound statement, those of its head."""

    lines: range
    names: frozenset[str]
    """Names that it assigns at the level of a module or a class; empty in a function."""
    body: range
    """Lines of the bodies of the function whose head it is; empty for other statements."""
    is_in_function: bool


class Places:
    """What lies where in one source text."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines(keepends=True)
        tree = ast.parse(source)
        self._excluded = [self._range(node) for node in _excluded(tree)]
        self._statements = list(_statements(tree, is_in_function=False))

    def is_excluded(self, position: Position) -> bool:
        """Return whether no test can notice a change, or only its style."""
        return any(start <= position < end for start, end in self._excluded)

    def statement(self, line: int) -> Statement | None:
        """Return the innermost statement on a line, if there is code."""
        found = [each for each in self._statements if line in each.lines]
        return min(found, key=lambda each: len(each.lines), default=None)

    def _range(self, node: ast.expr | ast.stmt | ast.keyword) -> tuple[Position, Position]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._position(node.lineno, node.col_offset), self._position(node.end_lineno, node.end_col_offset)

    def _position(self, line: int, offset: int) -> Position:
        """Turn the offset in bytes of `ast` into a column."""
        return line, len(self._lines[line - 1].encode()[:offset].decode())


def _excluded(tree: ast.Module) -> Iterator[ast.expr | ast.stmt | ast.keyword]:
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt) and _is_silent(node):
            yield node
        if isinstance(node, ast.Call):
            yield from (each for each in node.keywords if each.arg in _SILENT_KEYWORDS)
        yield from _annotations(node)


def _is_silent(node: ast.expr | ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Global() | ast.Nonlocal():
            return True
        case ast.Expr(value=ast.Constant()):  # docstrings, and `...`
            return True
        case ast.If(test=condition):
            is_main = isinstance(condition, ast.Compare) and _name(condition.left) == "__name__"
            return is_main or _name(condition) == "TYPE_CHECKING"
        case ast.ClassDef(bases=bases):
            return any(_name(base) == "Protocol" for base in bases)
        case ast.Assign():
            return _is_declaration(node)
        case ast.Raise(exc=error):
            return _name(error) == "NotImplementedError"
        case ast.Call(func=function):
            return _name(function) in _TYPES or _owner(function) in _LOGS
    return False


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.AnnAssign):
        yield from [] if _is_annotated(node.annotation) else [node.annotation]
    elif isinstance(node, ast.arg) and node.annotation and not _is_annotated(node.annotation):
        yield node.annotation
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.returns:
            yield node.returns
        yield from (each for each in node.decorator_list if _name(each) in ("overload", "override"))


def _is_annotated(annotation: ast.expr) -> bool:
    """Return whether an annotation has limits and parameters that libraries read."""
    return isinstance(annotation, ast.Subscript) and _name(annotation.value) == "Annotated"


def _is_declaration(node: ast.Assign) -> bool:
    """Return whether an assignment gives a type a name or sets a name that only tools read."""
    names = [target.id for target in node.targets if isinstance(target, ast.Name)]
    is_type = all(name.strip("_")[:1].isupper() and not name.isupper() for name in names)
    return bool(names) and (
        names[0].startswith("__") or (is_type and isinstance(node.value, ast.Subscript | ast.BinOp))
    )


def _name(node: ast.expr | None) -> str:
    """Return the last name of a dotted name or of the function of a call, or nothing."""
    match node:
        case ast.Call(func=function):
            return _name(function)
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def _owner(node: ast.expr) -> str:
    return _name(node.value).strip("_") if isinstance(node, ast.Attribute) else ""


def _statements(parent: ast.AST, *, is_in_function: bool) -> Iterator[Statement]:
    for node in ast.iter_child_nodes(parent):
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield _statement(node, is_in_function=is_in_function)
            yield from _statements(node, is_in_function=is_in_function or is_function)


def _statement(node: ast.stmt | ast.excepthandler | ast.match_case, *, is_in_function: bool) -> Statement:
    place = node.pattern if isinstance(node, ast.match_case) else node
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min(each.lineno for each in (place, *decorators))
    body: list[ast.stmt] = getattr(node, "body", [])
    last = max(body[0].lineno - 1, first) if body else place.end_lineno or first
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    of_body = range(body[0].lineno, (body[-1].end_lineno or 0) + 1) if is_function else range(0)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    assigned = [_name(part) for target in targets for part in (getattr(target, "elts", None) or [target])]
    names = frozenset[str]() if is_in_function else frozenset(assigned) - {""}
    return Statement(range(first, last + 1), names, of_body, is_in_function)
