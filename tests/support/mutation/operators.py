"""The operators in use, by kind: those of cosmic-ray, and those that it lacks.

cosmic-ray swaps each comparison and arithmetic operator for every other; one or two of each are enough here, so that
no kind of line is drawn more often than others.
"""

from __future__ import annotations

import ast
from typing import Any

from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

from tests.support.mutation import own_operators


def _replacements(prefix: str, *pairs: str) -> list[str]:
    return [f"Replace{prefix}Operator_{pair}" for pair in pairs]


KINDS = {
    "boundary": _replacements("Comparison", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt"),
    "comparison": [*_replacements("Comparison", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"), "negated_membership"],
    "condition": ["AddNot", *_replacements("Unary", "Delete_Not")],
    "logic": ["ReplaceAndWithOr", "ReplaceOrWithAnd", "dropped_operand"],
    "arithmetic": [
        *_replacements("Binary", "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Div", "Mod_Mul", "Pow_Mul"),
        *_replacements("Binary", "LShift_RShift", "RShift_LShift", "BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr"),
        *_replacements("Unary", "Delete_USub"),
    ],
    "number": ["NumberReplacer", "larger_number"],
    "quantity": ["doubled_quantity", "swapped_function"],
    "boolean": ["ReplaceTrueWithFalse", "ReplaceFalseWithTrue"],
    "flow": ["ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"],
    "exception": ["ExceptionReplacer"],
    "argument": ["dropped_keyword_argument"],
    "statement": ["dropped_statement"],
    "value": ["returned_none"],
    "slice": ["moved_slice"],
}
"""Names of operators by kind of change."""
_BINARY = {"and_expr", "arith_expr", "expr", "power", "shift_expr", "term", "xor_expr"}
_LARGE = 1000


def operator(name: str) -> Operator:
    """Return an operator of cosmic-ray or of our own."""
    own = own_operators.OPERATORS.get(name)
    return own() if own else OperatorProvider()[name]()


def kind_of(name: str) -> str:
    """Return the kind of an operator."""
    return next(kind for kind, names in KINDS.items() if name in names)


def is_meant(name: str, node: Any) -> bool:
    """Return whether an operator is meant for a node that it accepts.

    cosmic-ray takes a bare `*` of parameters for a product. It also changes large numbers and products of numbers, such
    as `64 * 1024`, by one, which is nothing for the size of a buffer; `larger_number` doubles them.
    """
    if name == "NumberReplacer":
        of_product = node.parent.type == "term" and sum(each.type == "number" for each in node.parent.children) > 1
        return bool(abs(ast.literal_eval(node.value)) < _LARGE) and not of_product
    return "BinaryOperator" not in name or node.parent.type in _BINARY
