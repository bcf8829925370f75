"""Heads: inference, safe unpickling and temperature scaling."""

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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info

from models import heads
from models.arrays import Floats
from models.errors import UnsafePickle
from models.heads import Head, TopSoftmax, apply_temperature, top_softmax
from tests.support.clusters import examples
from training.estimators.linear import Logistic

# --- inference


class ThreadRecorder:
    """An estimator that records the thread limits of libraries."""

    threads: set[int]

    def predict_proba(self, features: Floats) -> Floats:
        self.threads = {library["num_threads"] for library in threadpool_info()}
        return features


def test_head_runs_on_one_thread_and_restores_the_limits() -> None:
    before, recorder = threadpool_info(), ThreadRecorder()
    Head(recorder).predict_proba(np.ones((1, 2), np.float32))
    assert recorder.threads == {1}
    assert threadpool_info() == before


# --- the softmax of a top


def test_top_softmax_reorders_columns() -> None:
    estimator = top_softmax(["n3", "n1", "n2"], ["n1", "n2", "n3"])
    assert np.allclose(estimator.predict_proba(np.array([[0.5, 0.2, 0.3]], np.float32)), [[0.2, 0.3, 0.5]])
    assert heads.load(heads.save(estimator)) == estimator


def test_unknown_class_of_a_top_is_an_error() -> None:
    with pytest.raises(ValueError, match="n9"):
        top_softmax(["n1", "n2"], ["n1", "n9"])


# --- saving and loading


def test_save_rejects_what_load_would_reject() -> None:
    features, labels = examples(2)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, labels)
    with pytest.raises(UnsafePickle, match=r"sklearn\.pipeline\.Pipeline"):
        heads.save(pipeline)


# --- hostile pickles


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
        "in the state of an estimator": dump(TopSoftmax(Reduces(os.system, touch))),  # type: ignore[arg-type]
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


NAMES = list(hostile(Path("x")))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_pickle_is_rejected_without_running_code(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = hostile(canary)[name]
    modules = set(sys.modules)
    with pytest.raises(UnsafePickle):
        heads.load(data)
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
        heads.load(pickle.dumps(Reduces(os.system, "true")))


def test_extension_code_is_rejected(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    copyreg.add_extension("posix", "system", 240)
    try:
        with pytest.raises(UnsafePickle):
            heads.load(program(b"\x82\xf0", text(f"touch {canary}"), b"\x85R"))
    finally:
        copyreg.remove_extension("posix", "system", 240)
    with pytest.raises(UnsafePickle):
        heads.load(program(b"\x82\xf1"))  # an unregistered extension
    assert not canary.exists()


ALLOWED_NAMES = sorted(heads._ALLOWED)


@pytest.mark.parametrize(("module", "name"), ALLOWED_NAMES)
@pytest.mark.parametrize("state", ["attributes", "slots"])
def test_pickle_cannot_change_allowed_classes(
    module: str, name: str, state: Literal["attributes", "slots"], tmp_path: Path
) -> None:
    """BUILD sets attributes, also of classes; that would change all heads that are loaded later."""
    allowed = getattr(__import__(module, fromlist=[name]), name)
    before = {key: getattr(allowed, key, None) for key in ("predict_proba", "__init__", "__defaults__", "injected")}
    values = b"}(" + b"".join(text(key) + b"N" for key in before) + b"u"
    pair = values if state == "attributes" else b"N" + values + b"\x86"
    with pytest.raises(UnsafePickle):
        heads.load(program(stack_global(module, name), pair, b"b"))
    for key, value in before.items():
        assert getattr(allowed, key, None) == value, f"the pickle changed {module}.{name}.{key}"


def test_estimator_with_hostile_state_runs_no_code(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for module, name in ALLOWED_NAMES:
        data = program(stack_global(module, name), b")\x81}", text("predict_proba"), text(f"touch {canary}"), b"sb")
        with suppress(UnsafePickle):
            heads.load(data)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("value", "kind"), [({"predict_proba": 1}, "dict"), ([1, 2], "list"), (None, "NoneType"), (np.zeros(3), "ndarray")]
)
def test_pickle_of_another_object_is_rejected(value: object, kind: str) -> None:
    with pytest.raises(UnsafePickle, match=f"is a {kind}, which has no predict_proba"):
        heads.load(pickle.dumps(value))


def test_class_instead_of_an_instance_is_rejected() -> None:
    with pytest.raises(UnsafePickle):
        heads.load(program(stack_global("models.heads", "TopSoftmax")))


def test_truncated_pickle_is_rejected() -> None:
    features, labels = examples(2)
    data = heads.save(Logistic(kind="logistic").fit(features, labels, seed=0))
    for length in range(len(data)):
        with pytest.raises(UnsafePickle):
            heads.load(data[:length])


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_load_an_estimator_or_are_rejected(data: st.DataObject) -> None:
    """The digest would already reject them; this tests the unpickler alone."""
    pickled = bytearray(heads.save(TopSoftmax((2, 0, 1))))
    for _ in range(data.draw(st.integers(1, 4))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    try:
        estimator = heads.load(bytes(pickled))
    except UnsafePickle:
        return
    assert callable(estimator.predict_proba)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(UnsafePickle):
        heads.load(data)


# --- temperature

ROWS = (
    arrays.arrays(np.float32, (3, 5), elements=st.floats(2**-10, 1, width=32))
    .map(lambda rows: (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32))
)  # fmt: skip


@given(ROWS)
def test_temperature_of_one_changes_nothing(rows: Floats) -> None:
    assert np.array_equal(apply_temperature(rows, 1.0), rows)
    assert np.allclose(apply_temperature(rows, 1.000001), rows, atol=1e-5), (
        "the special case T = 1 differs from the formula"
    )


@given(ROWS, st.floats(0.05, 20))
def test_temperature_keeps_the_sum_and_order_of_rows(rows: Floats, temperature: float) -> None:
    scaled = apply_temperature(rows, temperature)
    assert scaled.dtype == np.float32
    assert np.allclose(scaled.sum(axis=1), 1, atol=1e-5)
    for before, after in zip(rows, scaled, strict=True):
        order = np.argsort(before)
        assert (np.diff(after[order]) >= -1e-6).all(), "a temperature must not change the order of classes"


@given(ROWS, st.floats(1.01, 20))
def test_temperature_above_one_lowers_confidence(rows: Floats, temperature: float) -> None:
    assert (apply_temperature(rows, temperature).max(axis=1) <= rows.max(axis=1) + 1e-6).all()


def test_temperature_accepts_a_probability_of_one() -> None:
    scaled = apply_temperature(np.array([[1, 0, 0]], np.float32), 3.0)
    assert np.isfinite(scaled).all()
    assert scaled.argmax() == 0
