"""Operators that cosmic-ray does not have, as `Operator` classes on the syntax trees of parso.

Each is made from a function that yields pairs: the part of a node that changes, and the text that replaces the whole
node.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

from cosmic_ray.ast import get_ast
from cosmic_ray.operators.operator import Example, Operator

Node = Any
"""A node or leaf of parso, whose types do not know the attributes of each kind."""
Change = tuple[Node, str]
_QUANTITY = re.compile(
    r"(?i:(_s|_ms|bytes|pixels|side|size|count|limit|timeout|deadline|capacity|tolerance|threshold|distance"
    r"|window|rate|factor|workers|lanes)$|^_?(max|min|most|least)_)|length$"
)
"""Names of durations, sizes, limits and figures."""
_SWAPS = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil", "ceil": "floor"}


def _text(*nodes: Node) -> str:
    return "".join([node.get_code(include_prefix=index > 0) for index, node in enumerate(nodes)])


def _without(nodes: list[Node], first: int, last: int) -> str:
    """Return the text of nodes without those from `first` to before `last`."""
    return _text(*nodes[:first], *nodes[last:])


def larger_number(node: Node) -> Iterator[Change]:
    """Double a number, or make it a hundred times as large; not where it is an index."""
    if node.type == "number" and node.parent.type != "trailer":
        value = ast.literal_eval(node.value)
        if value not in (0, 1):
            yield node, repr(value * 2)
        if value != 0:
            yield node, repr(value * 100)


def doubled_quantity(node: Node) -> Iterator[Change]:
    """Double a variable, an attribute or the result of a call that is named as a duration, a size or a limit."""
    if node.type == "name":
        is_loaded = node.parent.type not in ("trailer", "atom_expr", "power", "dotted_name", "import_from")
        names = [node.value] if is_loaded and not node.is_definition(include_setitem=True) else []
    elif node.type == "atom_expr" and node.children[0] != "await":
        is_target = node.parent.type == "expr_stmt" and node is not node.parent.children[-1]
        last = node.children[-1]
        names = [last.children[1].value] if last.children[0] == "." and not is_target else []
    else:
        names = []
    if names and _QUANTITY.search(names[0]) and not _has_same_double(node):
        yield node, f"({_text(node)} * 2)"


def _has_same_double(node: Node) -> bool:
    """Return whether twice the value has the same effect, or the name is that of an argument."""
    siblings, kind = node.parent.children, node.parent.type
    if kind == "argument":
        return node is siblings[0]
    if kind == "comparison":
        return any(_text(sibling) in ("0", "None") for sibling in siblings)
    if kind in ("if_stmt", "while_stmt", "test"):
        return node is siblings[2 if kind == "test" else 1]
    return kind in ("not_test", "and_test", "or_test")


def swapped_function(node: Node) -> Iterator[Change]:
    """Swap min and max, any and all, floor and ceil."""
    if node.type == "name" and node.value in _SWAPS and not node.is_definition():
        yield node, _SWAPS[node.value]


def dropped_keyword_argument(node: Node) -> Iterator[Change]:
    """Drop a keyword argument of a call."""
    if node.type != "trailer" or node.children[0] != "(" or len(node.children) != 3:
        return
    content = node.children[1]
    arguments = content.children if content.type == "arglist" else [content]
    for index, argument in enumerate(arguments):
        if argument.type == "argument" and argument.children[1] == "=":
            first = index - 1 if index else 0  # with the comma before it, or after it
            last = index + 1 if index else 2
            yield argument, f"({_without(arguments, first, last)})"


def dropped_operand(node: Node) -> Iterator[Change]:
    """Drop one operand of `and` or `or`."""
    if node.type in ("and_test", "or_test"):
        for index in range(0, len(node.children), 2):
            first = index - 1 if index else 0
            yield node.children[index], _without(node.children, first, first + 2)


def dropped_statement(node: Node) -> Iterator[Change]:
    """Drop a statement that calls, awaits, raises, deletes or increments."""
    if node.type == "simple_stmt":
        statement = node.children[0]
        is_call = statement.type == "atom_expr" and statement.children[-1].type == "trailer"
        increments = (
            statement.type == "expr_stmt"
            and statement.children[1].type == "operator"
            and (statement.children[1] != "=")
        )
        if is_call or increments or statement.type in ("raise_stmt", "del_stmt") or statement == "raise":
            yield statement, f"pass{_text(node)[len(_text(statement)) :]}"


def returned_none(node: Node) -> Iterator[Change]:
    """Return None; not instead of another false constant."""
    if node.type == "return_stmt" and _text(node.children[1]) not in ("None", "False", "0", '""', "[]", "{}", "()"):
        yield node, "return None"


def negated_membership(node: Node) -> Iterator[Change]:
    """Swap `in` and `not in`."""
    if node.type == "comp_op" and node.children[-1] == "in":
        yield node, "in"
    elif node == "in" and node.parent.type == "comparison":
        yield node, "not in"


def moved_slice(node: Node) -> Iterator[Change]:
    """Move a bound of a slice by one, unless it is a number, which cosmic-ray changes."""
    if node.type == "subscript":
        for index, bound in enumerate(node.children):
            if bound.type not in ("operator", "number", "sliceop"):
                for change in ("+ 1", "- 1"):
                    before, after = node.children[:index], node.children[index + 1 :]
                    yield bound, f"{_text(*before)}({_text(bound)}) {change}{''.join(map(_text, after))}"


REWRITES: dict[Callable[[Node], Iterator[Change]], tuple[str, str]] = {
    larger_number: ("x = 3", "x = 6"),
    doubled_quantity: ("x = self.limit_s", "x = (self.limit_s * 2)"),
    swapped_function: ("x = min(a, b)", "x = max(a, b)"),
    dropped_keyword_argument: ("f(a, k=1)", "f(a)"),
    dropped_operand: ("x = a and b and c", "x = b and c"),
    dropped_statement: ("await f(x)\n", "pass\n"),
    returned_none: ("return x", "return None"),
    negated_membership: ("x = a not in b", "x = a in b"),
    moved_slice: ("x = y[:n]", "x = y[:(n) + 1]"),
}
"""The functions, each with an example."""


def _operator(rewrite: Callable[[Node], Iterator[Change]], before: str, after: str) -> type[Operator]:
    class Rewrite(Operator):  # type: ignore[misc]
        def mutation_positions(self, node: Node) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
            for part, _ in rewrite(node):
                yield part.start_pos, part.end_pos

        def mutate(self, node: Node, index: int) -> Node:
            prefix = node.get_first_leaf().prefix
            return get_ast(prefix + list(rewrite(node))[index][1])

        @classmethod
        def examples(cls) -> tuple[Example, ...]:
            return (Example(before, after),)

    Rewrite.__name__ = rewrite.__name__
    return Rewrite


OPERATORS = {rewrite.__name__: _operator(rewrite, *example) for rewrite, example in REWRITES.items()}
