"""Reading of hostile pickles: nothing of them runs, and nothing is imported."""

from __future__ import annotations

import builtins
import copyreg
import functools
import os
import pickle
import pickletools
import posix
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import UnsafePickle
from models.heads.legacy import NAMES
from models.heads.pickle_reader import Call, Name, read

ARRAY, DTYPE = Name("numpy", "ndarray"), Name("numpy", "dtype")


class Reduces:
    """An object whose pickle calls a function when loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def text(value: str) -> bytes:
    """SHORT_BINUNICODE."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def program(*operations: bytes) -> bytes:
    return b"\x80\x04" + b"".join(operations) + b"."


def called(function: bytes, *arguments: bytes) -> bytes:
    """MARK, TUPLE, REDUCE."""
    return function + b"(" + b"".join(arguments) + b"tR"


def hostile(canary: Path) -> dict[str, bytes]:
    """Return pickles that create the file `canary` if their code runs."""
    touch = f"touch {canary}"
    python = f"open({str(canary)!r}, 'w').close()"
    argument = text(touch) + b"\x85R"  # TUPLE1, REDUCE
    dump = functools.partial(pickle.dumps, protocol=5)
    call_in_array = np.empty(1, dtype=object)
    call_in_array[0] = Reduces(os.system, touch)
    os_module = called(stack_global("builtins", "__import__"), text("os"))
    calls_of_map = called(stack_global("builtins", "map"), stack_global("os", "system"), b"](" + text(touch) + b"e")
    lazy = stack_global("builtins", "map") + stack_global("os", "system") + b"](" + text(touch) + b"e\x86"
    return {
        "os.system": dump(Reduces(os.system, touch)),
        "os.system, protocol 0": pickle.dumps(Reduces(os.system, touch), protocol=0),
        "posix.system": dump(Reduces(posix.system, touch)),
        "subprocess.run": dump(Reduces(subprocess.run, ["touch", str(canary)])),
        "subprocess.check_output": dump(Reduces(subprocess.check_output, ["touch", str(canary)])),
        "builtins.eval": dump(Reduces(builtins.eval, python)),
        "builtins.exec": dump(Reduces(builtins.exec, python)),
        "builtins.open": program(
            called(
                called(
                    stack_global("builtins", "getattr"),
                    called(stack_global("builtins", "open"), text(str(canary)), text("wb")),
                    text("close"),
                )
            )
        ),
        "builtins.eval by its Python 2 name": b"c__builtin__\neval\n(V" + python.encode() + b"\ntR.",
        "builtins.getattr": program(called(stack_global("builtins", "getattr"), os_module, text("system")), argument),
        "operator.attrgetter": program(
            called(called(stack_global("operator", "attrgetter"), text("system")), os_module), argument
        ),
        "operator.methodcaller": program(
            called(called(stack_global("operator", "methodcaller"), text("system"), text(touch)), os_module)
        ),
        "functools.partial": program(dump(functools.partial(os.system, touch))[:-1][11:], b")R"),
        "pathlib.Path.touch": dump(Reduces(Path.touch, canary)),
        "pickle.loads": dump(Reduces(pickle.loads, dump(Reduces(os.system, touch)))),
        "in a list": dump([1, Reduces(os.system, touch)]),
        "in an array of objects": dump(call_in_array),
        "in an array in an array": dump(np.array([call_in_array, None], dtype=object)),
        "in the state of an estimator": program(
            stack_global("models.heads", "TopSoftmax"), b")\x81]", stack_global("posix", "system"), argument, b"ab"
        ),
        "numpy.save": program(called(stack_global("numpy", "save"), text(str(canary.with_suffix(""))), b"K\x01")),
        "numpy.savetxt": program(called(stack_global("numpy", "savetxt"), text(str(canary)), b"]")),
        "numpy.memmap": dump(Reduces(np.memmap, str(canary), "uint8", "w+", 0, 1)),
        "numpy.ndarray.tofile, dotted": program(
            called(
                stack_global("numpy", "ndarray.tofile"),
                called(stack_global("numpy", "ndarray"), b"K\x01\x85"),
                text(str(canary)),
            )
        ),
        "numpy.savetxt through an allowed module": program(
            called(stack_global("models.heads", "estimators.np.savetxt"), text(str(canary)), b"]")
        ),
        "a method of an allowed name by getattr": program(
            called(
                called(
                    stack_global("builtins", "getattr"),
                    called(stack_global("numpy", "ndarray"), b"K\x01\x85"),
                    text("tofile"),
                ),
                text(str(canary)),
            )
        ),
        "INST": b"(V" + touch.encode() + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nV" + touch.encode() + b"\no.",
        "NEWOBJ": program(stack_global("builtins", "bytes"), lazy, b"\x81\x85\x81"),
        "NEWOBJ_EX": program(stack_global("builtins", "bytes"), lazy, b"}\x92\x85}\x92"),
        "REDUCE of a lazy call": program(called(stack_global("builtins", "bytes"), calls_of_map)),
    }


KINDS = list(hostile(Path("x")))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary.npy"


@pytest.mark.parametrize("name", KINDS)
def test_hostile_pickle_is_rejected_without_running_code(name: str, canary: Path) -> None:
    with pytest.raises(UnsafePickle):
        read(hostile(canary)[name], NAMES)
    assert not canary.exists(), "the pickle ran code"


@pytest.mark.parametrize("name", KINDS)
def test_hostile_pickle_runs_code_without_the_allow_list(name: str, canary: Path) -> None:
    """The pickle is effective: plain pickle runs its code."""
    pickle.loads(hostile(canary)[name])
    assert canary.exists(), f"the hostile pickle {name!r} does nothing"


@pytest.mark.parametrize(
    "data",
    [
        program(stack_global("sys", "modules")),
        program(stack_global("models.heads", "saved.pickle")),
        program(stack_global("models.heads", "load")),
        program(text("numpy"), b"K\x01\x93"),
        program(b"K\x01", text("dtype"), b"\x93"),
        b"\x80\x04" + text("os.system") + b"Q.",
        b"Pos.system\n.",
    ],
    ids=[
        "a value of a module",
        "a module of an allowed module",
        "another name of an allowed module",
        "a number as name",
        "a number as module",
        "persistent id",
        "persistent id, protocol 0",
    ],
)
def test_reference_to_anything_else_is_rejected(data: bytes) -> None:
    with pytest.raises(UnsafePickle):
        read(data, NAMES)


def test_hostile_pickle_imports_no_module() -> None:
    data = program(called(stack_global("importlib", "import_module"), text("__hello__")))
    sys.modules.pop("__hello__", None)
    with pytest.raises(UnsafePickle):
        read(data, NAMES)
    assert "__hello__" not in sys.modules
    pickle.loads(data)
    assert sys.modules.pop("__hello__", None), "the hostile pickle does nothing"


def test_names_that_a_head_may_refer_to() -> None:
    """Every pair is needed by a head of an earlier version; a further one must be a decision, not an accident."""
    assert {(name.module, name.name) for name in NAMES} == {
        ("builtins", "bytearray"),
        ("models.heads", "DenseLayers"),
        ("models.heads", "TopSoftmax"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
        ("sklearn.linear_model._logistic", "LogisticRegression"),
        ("xgboost.core", "Booster"),
        ("xgboost.sklearn", "XGBClassifier"),
    }


@pytest.mark.parametrize("allowed", sorted(NAMES, key=str), ids=str)
def test_neighbours_of_an_allowed_name_are_rejected(allowed: Name) -> None:
    module, name = allowed.module, allowed.name
    assert read(program(stack_global(module, name)), NAMES) == allowed
    assert read(f"c{module}\n{name}\n.".encode(), NAMES) == allowed
    others = {other.name for other in NAMES} - {other.name for other in NAMES if other.module == module}
    neighbours = {
        *((module, f"{name}{end}") for end in (".__class__", ".__init__.__globals__", "_", " ")),
        *((module, other) for other in {*others, "load", "loads", "getattr", "eval", "__builtins__", name[:-1], ""}),
        *((other, name) for other in (f"{module}.x", module.rpartition(".")[0], f"x{module}", module.upper(), "")),
    }
    for module, name in neighbours:
        for data in (program(stack_global(module, name)), f"c{module}\n{name}\n.".encode()):
            with pytest.raises(UnsafePickle):
                read(data, NAMES)


ALLOWED_OPCODES = {
    *("PROTO", "FRAME", "STOP", "MARK", "MEMOIZE", "BINGET", "LONG_BINGET"),
    *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
    *("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("APPEND", "APPENDS", "SETITEM", "SETITEMS"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD"),
}
"""What makes plain values, and what is only recorded."""


def argument_of(opcode: pickletools.OpcodeInfo) -> bytes:
    """Return a valid argument in the pickle."""
    if opcode.arg is None:
        return b""
    texts = {"float": b"1.5\n", "stringnl": b"'x'\n", "stringnl_noescape_pair": b"os\nsystem\n"}
    return texts.get(opcode.arg.name.removesuffix("nl"), texts.get(opcode.arg.name)) or (
        b"1\n" if opcode.arg.n == pickletools.UP_TO_NEWLINE else bytes(max(opcode.arg.n, 8))
    )


@pytest.mark.parametrize(
    "opcode",
    [opcode for opcode in pickletools.opcodes if opcode.name not in ALLOWED_OPCODES],
    ids=lambda each: each.name,
)
def test_every_other_opcode_is_rejected(opcode: pickletools.OpcodeInfo) -> None:
    data = opcode.code.encode("latin-1") + argument_of(opcode)
    assert next(pickletools.genops(data))[0].name == opcode.name
    stack = stack_global("numpy", "ndarray") + b")}"
    with pytest.raises(UnsafePickle, match=f"uses {opcode.name}, which is not allowed"):
        read(program(stack, data), NAMES)


def test_rejection_names_the_forbidden_global() -> None:
    with pytest.raises(UnsafePickle, match=r"posix\.system, which is not allowed\. Do not trust its source"):
        read(pickle.dumps(Reduces(os.system, "true")), NAMES)


def test_extension_code_is_rejected(canary: Path) -> None:
    data = program(b"\x82\xf0", text(f"touch {canary}"), b"\x85R")
    copyreg.add_extension("posix", "system", 240)
    try:
        with pytest.raises(UnsafePickle):
            read(data, NAMES)
        assert not canary.exists()
        pickle.loads(data)
        assert canary.exists(), "the hostile pickle does nothing"
    finally:
        copyreg.remove_extension("posix", "system", 240)
    with pytest.raises(UnsafePickle):
        read(program(b"\x82\xf1"), NAMES)  # an unregistered extension


# --- pickles of known names: they are recorded, not used


def test_calls_of_known_names_are_only_recorded() -> None:
    """`numpy.ndarray((1,), dtype("O"), bytes)` would make an object of a pointer that the pickle chooses."""
    dtype = stack_global("numpy", "dtype") + text("O") + b"\x85R"
    buffer = b"C\x08" + b"A" * 8
    value = read(program(stack_global("numpy", "ndarray"), b"K\x01\x85", dtype, buffer, b"\x87R"), NAMES)
    assert isinstance(value, Call)
    assert value.function == ARRAY
    shape, inner, data = value.arguments  # type: ignore[misc]
    assert (shape, data) == ((1,), b"A" * 8)  # type: ignore[has-type]
    assert (inner.function, inner.arguments, inner.state) == (DTYPE, ("O",), None)  # type: ignore[has-type]


def test_new_object_of_a_known_name_is_only_recorded() -> None:
    value = read(program(stack_global("models.heads", "TopSoftmax"), b"K\x01\x85\x81]K\x02ab"), NAMES)
    assert isinstance(value, Call)
    assert (value.function, value.arguments, value.state) == (Name("models.heads", "TopSoftmax"), (1,), [2])


def test_state_of_a_known_name_is_only_recorded() -> None:
    """A dtype whose fields lie outside of it would crash NumPy."""
    state = b"(K\x03" + text("|") + b"N(" + text("f0") + b"tK\x00K\x00K\x00t"
    value = read(program(stack_global("numpy", "dtype"), text("V8"), b"\x85R", state, b"b"), NAMES)
    assert isinstance(value, Call)
    assert value.state == (3, "|", None, ("f0",), 0, 0, 0)


@pytest.mark.parametrize("name", sorted(NAMES, key=str), ids=str)
@pytest.mark.parametrize("state", [b"}" + text("predict_proba") + b"Ns", b"N}\x86"], ids=["attributes", "slots"])
def test_state_of_a_class_is_rejected(name: Name, state: bytes) -> None:
    with pytest.raises(UnsafePickle, match="changes an object that is no estimator"):
        read(program(stack_global(name.module, name.name), state, b"b"), NAMES)


def test_second_state_is_rejected() -> None:
    with pytest.raises(UnsafePickle, match="changes an object that is no estimator"):
        read(program(stack_global("numpy", "dtype"), b")R}b}b"), NAMES)


def test_reading_imports_nothing() -> None:
    code = (
        "import sys; from models.heads import legacy, pickle_reader; before = set(sys.modules);"
        f"pickle_reader.read({program(stack_global('xgboost.core', 'Booster'))!r}, legacy.NAMES);"
        "print(set(sys.modules) - before)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "set()\n"


# --- plain values


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        255,
        300,
        -1,
        70000,
        2**40,
        -(2**70),
        0.1,
        "",
        "ä" * 300,
        b"",
        b"x" * 300,
        [],
        [1],
        [1, 2],
        {},
        {"a": 1},
        {"a": [{"b": ()}], "c": (1, 2, 3, 4)},
        (1,),
        (1, 2),
        ((1,), 2, 3, 4),
        [["again"], ["again"]],
    ],
    ids=repr,
)
def test_plain_values_are_read_as_pickle_reads_them(value: object, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol), ()) == value


@pytest.mark.parametrize("value", [{1}, frozenset(), 1j, {1: 2}, {(): 1}, bytearray(b"x"), np.float32(1), Path("x")])
def test_other_values_are_rejected(value: object) -> None:
    with pytest.raises(UnsafePickle):
        read(pickle.dumps(value, 5), ())


def test_nested_values_cost_no_exponential_time() -> None:
    """The hash of a tuple is computed anew each time: as a key, 60 doublings would never end."""
    doubled = b")" + b"\x94h\x00\x86"[:1] + b"".join(b"h" + bytes([level]) + b"\x86\x94" for level in range(60))
    began = time.monotonic()
    read(program(doubled), ())
    with pytest.raises(UnsafePickle):
        read(program(b"}", doubled.replace(b")", b"\x29"), b"Ns"), ())
    assert time.monotonic() - began < 5


def test_number_of_values_is_limited() -> None:
    """With PROTO and STOP, these are 200,001 opcodes, and one more."""
    values = read(program(b"]", b"Na" * 99_998, b"K\x01a"), ())
    assert isinstance(values, list)
    assert len(values) == 99_999
    with pytest.raises(UnsafePickle, match="too many values"):
        read(program(b"]\x94", b"Na" * 99_998, b"K\x01a"), ())


def test_endless_pickle_is_rejected() -> None:
    with pytest.raises(UnsafePickle, match="too many values"):
        read(program(b"]" + b"Na" * 200_000), ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"\x80\x04",
        b"N",
        b"NN.",
        b"N.N",
        b"(.",
        b"t.",
        b"a.",
        b"Na.",
        b"s.",
        b"NNs.",
        b"h\x07.",
        b"(N\x85b.",
        b"\x94.",
        b"\x93.",
        b"R.",
        b"b.",
        b"(Nh.",
        b"]NNs.",
        b"}Na.",
        b"](N\x85.",
        b"N(\x85.",
        b"NN(\x86.",
        b"}(\x8c\x01aN\x8c\x01bu.",
        b"B\xff\xff\xff\xffx.",
        b"\x8d" + b"\xff" * 9,
    ],
    ids=repr,
)
def test_damaged_pickle_is_rejected(data: bytes) -> None:
    with pytest.raises(UnsafePickle):
        read(data, NAMES)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected_or_plain_values(data: bytes) -> None:
    try:
        read(data, ())
    except UnsafePickle:
        return
    pickle.loads(data)  # whatever is read here is a pickle without names
