"""Heads that earlier versions saved, as pickles of scikit-learn's, XGBoost's and this project's classes."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

from models import heads
from models.errors import UnsafePickle
from models.heads import DenseLayers, TopSoftmax
from models.heads.legacy import NAMES, estimator_of
from models.heads.pickle_reader import Call, Name, read
from tests.support.clusters import examples

SCALE = np.array([0.01, 1, 30, 1, 5, 0.2], np.float32)
"""Standard deviations of the features, roughly."""


def pickled(estimator: object) -> bytes:
    """Pickle as `heads.save` did; `DenseLayers` was in the module `models.heads` then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DenseLayers, "__module__", "models.heads")
        return pickle.dumps(estimator, protocol=4)


def logistic(classes: int) -> LogisticRegression:
    features, labels = examples(classes)
    return LogisticRegression(max_iter=300).fit(features / SCALE, labels)


def logistic_as_trained(classes: int) -> LogisticRegression:
    """Fold the standardization in, as the training did."""
    model = logistic(classes)
    model.coef_ = (model.coef_ / SCALE).astype(np.float32)
    model.intercept_ = model.intercept_.astype(np.float32)
    return model


def trees(classes: int) -> XGBClassifier:
    return XGBClassifier(n_estimators=4, max_depth=3, tree_method="hist", random_state=0).fit(*examples(classes))


def layers(classes: int) -> DenseLayers:
    random = np.random.default_rng(0)
    kernels = (random.normal(size=(6, 8)).astype(np.float32), random.normal(size=(8, classes)).T.copy().T)
    return DenseLayers(kernels, (np.zeros(8, np.float32), random.normal(size=classes)))


KINDS: list[Callable[[int], Any]] = [logistic, logistic_as_trained, trees, layers]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("fitted", KINDS)
def test_earlier_head_gives_the_same_answers(fitted: Callable[[int], Any], classes: int) -> None:
    features, _ = examples(classes, per_class=50)
    estimator = fitted(classes)
    loaded = heads.load(pickled(estimator))
    tolerance = 0 if fitted in (trees, layers) else 1e-6
    assert np.abs(loaded.predict_proba(features) - estimator.predict_proba(features)).max() <= tolerance
    assert loaded.fits(6, classes)


@pytest.mark.parametrize("fitted", KINDS)
def test_earlier_head_is_saved_in_the_current_form(fitted: Callable[[int], Any]) -> None:
    loaded = heads.load(pickled(fitted(4)))
    data = heads.save(loaded)
    assert pickle.loads(data)["format"] == 2
    assert heads.save(heads.load(data)) == data


def test_earlier_softmax_of_a_top_is_the_same() -> None:
    pickled_by_earlier_version = (
        b"\x80\x04\x95(\x00\x00\x00\x00\x00\x00\x00\x8c\x0cmodels.heads\x8c\nTopSoftmax\x93)\x81]K\x01K\x02K\x00\x87ab."
    )
    assert heads.load(pickled_by_earlier_version) == TopSoftmax((1, 2, 0))


@pytest.mark.parametrize("kind", ["LogisticRegression", "XGBClassifier", "DenseLayers", "TopSoftmax"])
@pytest.mark.parametrize("state", [b"", b"}b", b"]b", b"](NNeb", b"](])eb"])
def test_earlier_head_without_its_parts_is_rejected(kind: str, state: bytes) -> None:
    modules = {"LogisticRegression": "sklearn.linear_model._logistic", "XGBClassifier": "xgboost.sklearn"}
    module = modules.get(kind, "models.heads")
    names = b"".join(b"\x8c" + bytes([len(name)]) + name.encode() for name in (module, kind))
    with pytest.raises(UnsafePickle):
        heads.load(b"\x80\x04" + names + b"\x93)\x81" + state + b".")


@pytest.mark.parametrize(
    "values", [np.array(["a"]), np.array([1, 2]), np.array([None, 1], object), np.zeros(3, "f4,f4")]
)
def test_earlier_head_with_other_arrays_is_rejected(values: Any) -> None:
    with pytest.raises(UnsafePickle):
        heads.load(pickled(DenseLayers((values,), (values,))))


def calls_in(value: Any) -> list[Call]:
    """Return all recorded calls in a value without cycles."""
    if isinstance(value, Call):
        return [value, *calls_in(value.arguments), *calls_in(value.state)]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [call for item in items for call in calls_in(item)]


def used_calls(fitted: Callable[[int], Any], value: Any) -> list[Call]:
    """Return the calls that make up the predictions; scikit-learn's and XGBoost's objects have others."""
    if fitted is layers:
        return calls_in(value)
    if fitted is trees:
        booster = value.state["_Booster"]
        return [value, booster, booster.state["handle"]]
    return [value, *calls_in([value.state["coef_"], value.state["intercept_"]])]


@functools.cache
def pickled_kind(fitted: Callable[[int], Any]) -> bytes:
    return pickled(fitted(3))


@pytest.mark.parametrize("fitted", KINDS)
def test_part_that_another_function_would_make_is_rejected(fitted: Callable[[int], Any]) -> None:
    """Each function is allowed somewhere in a pickle, but only the right one in the place of an array or a class."""
    value = read(pickled_kind(fitted), NAMES)
    assert isinstance(value, Call)
    estimator_of(value)
    calls = used_calls(fitted, value)
    assert len(calls) >= 3
    for call in calls:
        right = call.function
        for other in (*NAMES - {right}, Name("numpy", "load"), None):
            call.function = other
            with pytest.raises((UnsafePickle, ValueError, TypeError, KeyError)):
                estimator_of(value)
        call.function = right


@pytest.mark.parametrize("replacement", [None, 1, "x", b"", [], {}, (), Name("numpy", "ndarray")])
def test_part_of_another_type_is_rejected(replacement: object) -> None:
    for fitted, parts in ((trees, ["_Booster"]), (logistic, ["coef_", "intercept_"])):
        for part in parts:
            value = read(pickled_kind(fitted), NAMES)
            assert isinstance(value, Call)
            assert isinstance(value.state, dict)
            value.state[part] = replacement
            with pytest.raises((ValueError, TypeError, KeyError)):
                estimator_of(value)


INTACT = [pickled(fit(3)) for fit in (logistic, layers)]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_changed_bytes_of_an_earlier_head_are_rejected_or_give_an_estimator(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(INTACT)))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        estimator = heads.load(bytes(changed))
    except UnsafePickle:
        return
    assert isinstance(estimator, DenseLayers)
    assert estimator.is_consistent


@pytest.mark.parametrize("part", ["name", "byte order"])
def test_dtype_of_another_type_is_rejected(part: str) -> None:
    value: Any = read(pickled_kind(layers), NAMES)
    dtype: Any = next(call for call in calls_in(value) if call.function == Name("numpy", "dtype"))
    if part == "name":
        dtype.arguments = (b"f4", *dtype.arguments[1:])
    else:
        dtype.state = (dtype.state[0], b"<", *dtype.state[2:])
    with pytest.raises(ValueError, match="an array has no dtype"):
        estimator_of(value)
