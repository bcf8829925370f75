"""Heads that earlier versions of this project saved: pickles of XGBoost's, scikit-learn's and its own classes.

The pickle's structure is read without running anything of it (`pickle_reader`). The parts that make up the predictions
are taken from it and checked like those of a new head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.errors import UnsafePickle
from models.heads import saved_arrays
from models.heads.boosted_trees import BoostedTrees
from models.heads.estimators import DenseLayers, FloatArray, TopSoftmax, linear_softmax
from models.heads.pickle_reader import Call, Name

_BYTEARRAY = Name("builtins", "bytearray")
_DTYPE = Name("numpy", "dtype")
_NDARRAY = Name("numpy", "ndarray")
_RECONSTRUCT = Name("numpy._core.multiarray", "_reconstruct")
_SCALAR = Name("numpy._core.multiarray", "scalar")
_BOOSTER = Name("xgboost.core", "Booster")
_TREES = Name("xgboost.sklearn", "XGBClassifier")
_LOGISTIC = Name("sklearn.linear_model._logistic", "LogisticRegression")
_DENSE = Name("models.heads", "DenseLayers")
_TOP = Name("models.heads", "TopSoftmax")

NAMES = frozenset(
    {_BYTEARRAY, _DTYPE, _NDARRAY, _RECONSTRUCT, _SCALAR, _BOOSTER, _TREES, _LOGISTIC, _DENSE, _TOP}
)  # fmt: skip

_MODEL_KEY = b"L\0\0\0\0\0\0\0\x05Model"
"""A pickled Booster is a UBJSON object of the members Config and Model; the second is what `save_raw` returns."""


def estimator_of(pickled: Call) -> TopSoftmax | DenseLayers | BoostedTrees:
    """Create the estimator that a pickle describes.

    Raises:
        UnsafePickle: it describes something else.
        ValueError, TypeError, KeyError: a part is missing, damaged, or of another type.
    """
    name = pickled.function
    if name == _TREES:
        return _trees(_state(pickled, _TREES))
    if name == _LOGISTIC:
        state = _state(pickled, _LOGISTIC)
        return linear_softmax(_array(state["coef_"]), _array(state["intercept_"]))
    if name == _DENSE:
        kernels, biases = _fields(pickled, 2)
        return DenseLayers(tuple(map(_array, kernels)), tuple(map(_array, biases)))
    if name == _TOP:
        (columns,) = _fields(pickled, 1)
        return TopSoftmax(tuple(columns))
    raise UnsafePickle("The head's pickle holds no estimator of this project. Do not trust its source.")


def _trees(state: Mapping[str, Any]) -> BoostedTrees:
    handle = _state(state["_Booster"], _BOOSTER)["handle"]
    if not (isinstance(handle, Call) and handle.function == _BYTEARRAY):
        raise ValueError("the trees are no bytes")
    (data,) = _tuple(handle.arguments, 1)
    _, _, model = data.partition(_MODEL_KEY)
    return BoostedTrees.from_model(model[:-1])


def _array(pickled: object) -> FloatArray:
    if not (isinstance(pickled, Call) and pickled.function == _RECONSTRUCT):
        raise ValueError("an array is missing")
    _, shape, dtype, is_fortran, data = _tuple(pickled.state, 5)
    if not (isinstance(dtype, Call) and dtype.function == _DTYPE):
        raise ValueError("an array has no dtype")
    (name, *_), (_, byte_order, *_) = _tuple(dtype.arguments), _tuple(dtype.state)
    if not (isinstance(name, str) and isinstance(byte_order, str)):
        raise ValueError("an array has no dtype")
    return saved_arrays.decode(byte_order + name, shape, data, is_fortran=is_fortran)


def _state(pickled: object, name: Name) -> Mapping[str, Any]:
    """Return the attributes of an object of this class."""
    if not (isinstance(pickled, Call) and pickled.function == name and isinstance(pickled.state, dict)):
        raise ValueError(f"the {name.name} is missing")
    return pickled.state


def _fields(pickled: Call, count: int) -> list[Any]:
    """Return the fields of a frozen dataclass with slots."""
    if not (isinstance(pickled.state, list) and len(pickled.state) == count):
        raise ValueError("a field is missing")
    return pickled.state


def _tuple(value: object, count: int | None = None) -> tuple[Any, ...]:
    if not isinstance(value, tuple) or count not in (None, len(value)):
        raise ValueError("a value is missing")
    return value
