"""Saving and loading of heads."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models import heads
from models.errors import UnsafePickle
from models.heads import DenseLayers, Estimator, TopSoftmax
from tests.support.clusters import examples
from training.estimators.boosted_trees import XGBoost
from training.estimators.linear import Logistic

ARRAY = {"dtype": "<f4", "shape": (1, 1), "data": b"\0\0\x80?"}
BIAS = {**ARRAY, "shape": (1,)}


def trees(classes: int = 3) -> Estimator:
    return XGBoost(n_estimators=3, max_depth=3).fit(*examples(classes), seed=0)


def content(estimator: Estimator) -> dict[str, Any]:
    """Return what is pickled."""
    value: dict[str, Any] = pickle.loads(heads.save(estimator))
    return value


def test_file_is_a_pickle_of_plain_values() -> None:
    assert heads.save(TopSoftmax((2, 0)))[:2] == b"\x80\x04", "of protocol 4, as in the digests of saved heads"
    assert content(TopSoftmax((2, 0))) == {"format": 2, "kind": "top_softmax", "columns": (2, 0)}
    assert content(TopSoftmax((2, 0), (1.5, 1.0)))["frequencies"] == (1.5, 1.0)
    linear = content(Logistic(kind="logistic").fit(*examples(3), seed=0))
    assert linear["kind"] == "dense_layers"
    assert {type(value) for array in linear["kernels"] for value in array.values()} == {str, tuple, bytes}
    boosted = content(trees())
    assert (boosted["kind"], boosted["model"][:1]) == ("boosted_trees", b"{")


def test_saved_head_names_no_class_or_function() -> None:
    tops = TopSoftmax((2, 0)), TopSoftmax((2, 0), (1.5, 1.0))
    for estimator in (*tops, trees(), Logistic(kind="logistic").fit(*examples(3), seed=0)):
        assert not {b"numpy", b"xgboost", b"sklearn", b"models."} & set(heads.save(estimator).split(b"\x8c"))
        assert b"\x93" not in heads.save(estimator)[:100], "STACK_GLOBAL"


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_restored_bit_by_bit(dtype: str, order: Any) -> None:
    kernel = np.asarray(np.random.default_rng(0).normal(size=(3, 4)), dtype, order=order)
    loaded = heads.load(heads.save(DenseLayers((kernel,), (kernel[0],))))
    assert isinstance(loaded, DenseLayers)
    assert np.array_equal(loaded.kernels[0], kernel)
    assert np.array_equal(loaded.biases[0], kernel[0])


def test_save_rejects_what_load_would_reject() -> None:
    features, labels = examples(2)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, labels)
    with pytest.raises(UnsafePickle, match="A Pipeline cannot be saved as a head: use BoostedTrees, DenseLayers or"):
        heads.save(pipeline)
    not_finite = DenseLayers((np.full((2, 2), np.nan),), (np.zeros(2),))
    with pytest.raises(UnsafePickle, match="a weight is not finite"):
        heads.save(not_finite)


@pytest.mark.parametrize(
    ("value", "kind"), [([1, 2], "list"), (None, "NoneType"), ((1,), "tuple"), ("x", "str"), (1.5, "float")]
)
def test_pickle_of_another_value_is_rejected(value: object, kind: str) -> None:
    with pytest.raises(UnsafePickle, match=f"holds a {kind}, but no estimator"):
        heads.load(pickle.dumps(value))


def test_class_instead_of_an_instance_is_rejected() -> None:
    with pytest.raises(UnsafePickle, match="holds a class"):
        heads.load(b"\x80\x04\x8c\x0cmodels.heads\x8c\nTopSoftmax\x93.")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"format": 3},
        {"format": True},
        {"format": 2.0},
        {"format": None},
        {"kind": "svm"},
        {"kind": None},
        {"kind": "boosted_trees"},
        {"kind": "boosted_trees", "model": b"{}"},
        {"kind": "boosted_trees", "model": "{}"},
        {"kind": "top_softmax", "columns": (1.0,)},
        {"kind": "top_softmax", "columns": (True,)},
        {"kind": "top_softmax", "columns": ((1,),)},
        {"kind": "top_softmax", "columns": (1,), "frequencies": (0.0,)},
        {"kind": "top_softmax", "columns": (1,), "frequencies": "2"},
        {"kind": "top_softmax", "columns": (1,), "frequencies": 2.0},
        {"kernels": ()},
        {"kernels": (1,)},
        {"kernels": [ARRAY]},
        {"kernels": ({},)},
        *[
            {"kernels": ({**ARRAY, **change},)}
            for change in (
                {"dtype": "O"},
                {"dtype": "<f2"},
                {"dtype": "V4"},
                {"dtype": ["<f4"]},
                {"shape": (1,)},
                {"shape": [1, 1]},
                {"shape": (1, 1, 1)},
                {"shape": (-1, -1)},
                {"shape": (2, 1)},
                {"shape": (True, True)},
                {"shape": (2**62, 4)},
                {"shape": (0, 2**62), "data": b""},
                {"data": b"1234567"},
                {"data": "1234"},
                {"data": np.float32(np.nan).tobytes()},
            )
        ],
    ],
    ids=repr,
)
def test_pickle_with_another_part_is_rejected(changes: dict[str, Any]) -> None:
    valid = {"format": 2, "kind": "dense_layers", "kernels": (ARRAY,), "biases": (BIAS,)}
    assert isinstance(heads.load(pickle.dumps(valid)), DenseLayers)
    with pytest.raises(UnsafePickle):
        heads.load(pickle.dumps({**valid, **changes}))


def test_truncated_pickle_is_rejected() -> None:
    data = heads.save(Logistic(kind="logistic").fit(*examples(2), seed=0))
    for length in range(len(data)):
        with pytest.raises(UnsafePickle):
            heads.load(data[:length])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_load_an_estimator_or_are_rejected(data: st.DataObject) -> None:
    pickled = bytearray(heads.save(TopSoftmax((2, 0, 1))))
    for _ in range(data.draw(st.integers(1, 4))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    try:
        estimator = heads.load(bytes(pickled))
    except UnsafePickle:
        return
    assert isinstance(estimator, TopSoftmax)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(UnsafePickle):
        heads.load(data)
