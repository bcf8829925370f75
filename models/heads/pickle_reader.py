"""Reader of pickles that runs no code of them: it imports nothing, calls nothing and sets no attribute.

A pickle is a program (the opcodes are documented in `pickletools`). This interpreter knows only the opcodes that make
plain values. Where a pickle would import a name or call it, it only records that, so that heads of earlier versions of
this project can be read.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from models.errors import UnsafePickle

_MAX_OPCODES = 200_000  # some 0.2 s; a head of 65,536 classes has half as many


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the pickle would import."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Call:
    """A call, or the creation of an object, that the pickle would run, and the state that it would set."""

    function: object
    arguments: object
    state: object = field(default=None)


def read(data: bytes, names: Collection[Name]) -> object:
    """Read a pickle.

    Args:
        data: the pickle.
        names: names that it may refer to.

    Returns:
        None, bool, int, float, str, bytes, and lists, tuples and dicts (with strings as keys) of such values; `Name`
        and `Call` in place of anything else. A value can contain itself: never compare or print it as a whole.

    Raises:
        UnsafePickle: it refers to another name, uses an opcode that is not needed for such values, or is damaged.
    """
    file = io.BytesIO(data)
    value = PickleReader(names, "The head's pickle").read(file)
    if file.read(1):
        raise UnsafePickle("The head's pickle is damaged: bytes follow its end. Install it again.")
    return value


class PickleReader:
    """A stack of values, the positions of marks in it, and the memo."""

    def __init__(self, names: Collection[Name], subject: str) -> None:
        """Create a reader.

        Args:
            names: names that pickles may refer to.
            subject: what is read, at the beginning of error messages.
        """
        self._names = names
        self._subject = subject
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self, file: BinaryIO) -> object:
        """Read the pickle at a file's position, and leave the position after it; see the function `read`."""
        self._stack, self._marks, self._memo = [], [], {}
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if count > _MAX_OPCODES:
                    raise UnsafePickle(f"{self._subject} has too many values. Do not trust its source.")
                if opcode.name == "STOP":
                    (value,) = self._stack
                    return value
                self._run(opcode.name, argument)
        except UnsafePickle:
            raise
        except Exception as error:  # pickletools raises many kinds of them for damaged pickles
            raise UnsafePickle(f"{self._subject} is damaged, or no pickle. Install it again.") from error
        raise AssertionError("genops ends with STOP or raises")

    def _run(self, opcode: str, argument: Any) -> None:
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self._stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                self._stack.append(argument)
            case "SHORT_BINUNICODE" | "BINUNICODE" | "SHORT_BINBYTES" | "BINBYTES" | "BINBYTES8":
                self._stack.append(argument)
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                self._stack.append({"EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}}[opcode])
            case "MARK":
                self._marks.append(len(self._stack))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self._stack.append(tuple(self._pop(int(opcode[-1]))))
            case "TUPLE":
                self._stack.append(tuple(self._pop_to_mark()))
            case "APPEND" | "APPENDS":
                self._append(self._pop(1) if opcode == "APPEND" else self._pop_to_mark())
            case "SETITEM" | "SETITEMS":
                self._set_items(self._pop(2) if opcode == "SETITEM" else self._pop_to_mark())
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._stack[-1]
            case "BINGET" | "LONG_BINGET":
                self._stack.append(self._memo[argument])
            case "GLOBAL":
                self._stack.append(self._name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self._stack.append(self._name(*self._pop(2)))
            case "REDUCE" | "NEWOBJ":
                self._stack.append(Call(*self._pop(2)))
            case "BUILD":
                self._build(*self._pop(1))
            case _:
                raise UnsafePickle(f"{self._subject} uses {opcode}, which is not allowed. Do not trust its source.")

    def _name(self, module: object, name: object) -> Name:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name is no string")
        found = Name(module, name)
        if found not in self._names:
            raise UnsafePickle(
                f"{self._subject} refers to {module}.{name}, which is not allowed. Do not trust its source."
            )
        return found

    def _build(self, state: object) -> None:
        target = self._stack[-1]
        if not isinstance(target, Call) or target.state is not None:
            raise UnsafePickle(f"{self._subject} changes an object that is no estimator. Do not trust its source.")
        target.state = state

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise ValueError("no list")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target, keys = self._stack[-1], items[::2]
        # Only strings: to hash a tuple of tuples of tuples takes exponential time.
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
            raise ValueError("no dict of strings")
        target.update(zip(keys, items[1::2], strict=True))

    def _pop(self, count: int) -> list[Any]:
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise ValueError("the stack has too few values")
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        return self._pop(len(self._stack) - self._marks.pop())
