"""Reading of hostile pickles: nothing of them runs, and nothing is imported."""

from __future__ import annotations

import builtins
import copyreg
import functools
import operator
import os
import pickle
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


def hostile(canary: Path) -> dict[str, bytes]:
    """Return pickles that would create the file `canary` if any of their code ran."""
    touch = f"touch {canary}"
    python = f"open({str(canary)!r}, 'w')"
    argument = text(touch) + b"\x85R"  # TUPLE1, REDUCE
    dump = functools.partial(pickle.dumps, protocol=5)
    call_in_array = np.empty(1, dtype=object)
    call_in_array[0] = Reduces(os.system, touch)
    return {
        "os.system": dump(Reduces(os.system, touch)),
        "os.system, protocol 0": pickle.dumps(Reduces(os.system, touch), protocol=0),
        "posix.system": dump(Reduces(posix.system, touch)),
        "subprocess.Popen": dump(Reduces(subprocess.Popen, ["touch", str(canary)])),
        "subprocess.check_output": dump(Reduces(subprocess.check_output, ["touch", str(canary)])),
        "builtins.eval": dump(Reduces(builtins.eval, python)),
        "builtins.exec": dump(Reduces(builtins.exec, python)),
        "builtins.open": dump(Reduces(builtins.open, str(canary), "w")),
        "builtins.eval by its Python 2 name": b"c__builtin__\neval\n(V" + python.encode() + b"\ntR.",
        "builtins.__import__": dump(Reduces(builtins.__import__, "os")),
        "builtins.getattr": dump(Reduces(getattr, Reduces(builtins.__import__, "os"), "system")),
        "operator.attrgetter": dump(operator.attrgetter("system")),
        "functools.partial": dump(functools.partial(os.system, touch)),
        "pathlib.Path.touch": dump(Reduces(Path.touch, canary)),
        "pickle.loads": dump(Reduces(pickle.loads, dump(Reduces(os.system, touch)))),
        "in a list": dump([1, Reduces(os.system, touch)]),
        "in an array of objects": dump(call_in_array),
        "in an array in an array": dump(np.array([call_in_array, None], dtype=object)),
        "in the state of an estimator": program(
            stack_global("models.heads", "TopSoftmax"), b")\x81]", stack_global("posix", "system"), argument, b"ab"
        ),
        "numpy.load": dump(Reduces(np.load, str(canary), None, True)),
        "numpy.ndarray.tofile, dotted": program(
            stack_global("numpy", "ndarray.tofile"), stack_global("numpy", "ndarray"), text(str(canary)), b"\x86R"
        ),
        "os.system through an allowed module": program(stack_global("models.heads", "importlib.os.system"), argument),
        "a module of an allowed module": program(stack_global("models.heads", "importlib"), argument),
        "another name of an allowed module": program(
            stack_global("models.heads", "load"), b"C" + bytes([len(s := pickle.dumps(1))]) + s + b"\x85R"
        ),
        "importlib.import_module": program(stack_global("importlib", "import_module"), text("antigravity"), b"\x85R"),
        "sys.modules": program(stack_global("sys", "modules")),
        "INST": b"(V" + touch.encode() + b"\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nV" + touch.encode() + b"\no.",
        "NEWOBJ": program(stack_global("subprocess", "Popen"), text(touch), b"\x85\x81"),
        "NEWOBJ_EX": program(stack_global("subprocess", "Popen"), text(touch), b"\x85}\x92"),
        "persistent id": b"\x80\x04" + text("os.system") + b"Q.",
        "persistent id, protocol 0": b"Pos.system\n.",
        "a number as name": program(text("numpy"), b"K\x01\x93"),
    }


KINDS = list(hostile(Path("x")))


@pytest.mark.parametrize("name", KINDS)
def test_hostile_pickle_is_rejected_without_running_code(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = hostile(canary)[name]
    modules = set(sys.modules)
    with pytest.raises(UnsafePickle):
        read(data, NAMES)
    assert not canary.exists(), "the pickle ran code"
    assert "antigravity" not in set(sys.modules) - modules, "the pickle imported a module"


def test_hostile_pickles_run_code_without_the_allow_list(tmp_path: Path) -> None:
    """The pickles are effective: plain pickle runs their code."""
    canary = tmp_path / "canary"
    for name in ("os.system", "subprocess.check_output", "in an array of objects", "INST", "pathlib.Path.touch"):
        pickle.loads(hostile(canary)[name])
        assert canary.exists(), f"the hostile pickle {name!r} does nothing"
        canary.unlink()


def test_rejection_names_the_forbidden_global() -> None:
    with pytest.raises(UnsafePickle, match=r"posix\.system, which is not allowed\. Do not trust its source"):
        read(pickle.dumps(Reduces(os.system, "true")), NAMES)


def test_extension_code_is_rejected(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    copyreg.add_extension("posix", "system", 240)
    try:
        with pytest.raises(UnsafePickle):
            read(program(b"\x82\xf0", text(f"touch {canary}"), b"\x85R"), NAMES)
    finally:
        copyreg.remove_extension("posix", "system", 240)
    with pytest.raises(UnsafePickle):
        read(program(b"\x82\xf1"), NAMES)  # an unregistered extension
    assert not canary.exists()


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
