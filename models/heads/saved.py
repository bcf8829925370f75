"""The file of a head: a pickle of plain values, from which this module builds the estimator.

    {"format": 2, "kind": "boosted_trees", "model": UBJSON}
    {"format": 2, "kind": "dense_layers",  "kernels": (array, …), "biases": (array, …)}
    {"format": 2, "kind": "top_softmax",   "columns": (number, …), "frequencies": (float, …)}

where an array is {"dtype": "<f4" or "<f8", "shape": (side, …), "data": bytes}. The pickle names no class and no
function. Nothing of it is run, and every value is checked before it is used. Frequencies may be missing.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

from models.errors import UnsafePickle
from models.heads import legacy, saved_arrays
from models.heads.boosted_trees import BoostedTrees
from models.heads.estimators import DenseLayers, Estimator, TopSoftmax
from models.heads.pickle_reader import Call, Name, read

_FORMAT = 2  # 1: pickled estimators, see `legacy`
SavedEstimator = BoostedTrees | DenseLayers | TopSoftmax


def save(estimator: Estimator) -> bytes:
    """Pickle an estimator.

    Raises:
        UnsafePickle: it is of another kind, or `load` would reject the pickle.
    """
    content = {"format": _FORMAT, **_content(estimator)}
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    pickler.fast = True  # no memo: equal values always give the same bytes
    pickler.dump(content)
    load(buffer.getvalue())
    return buffer.getvalue()


def load(data: bytes) -> SavedEstimator:
    """Read an estimator of any bytes without running code of them.

    XGBoost reads trees, whose indices are checked before, in native code: a server that must not crash loads an unknown
    head in another process first (`models.artifacts.proof`).

    Raises:
        UnsafePickle: the pickle refers to other names than earlier versions used, is damaged, or holds no estimator.
    """
    value = read(data, legacy.NAMES)
    try:
        estimator = legacy.estimator_of(value) if isinstance(value, Call) else _estimator(value)
        _check(estimator)
    except (ValueError, TypeError, KeyError) as error:
        raise UnsafePickle(f"The head cannot be loaded: {_reason(error)}. Install it again.") from error
    return estimator


def _content(estimator: Estimator) -> dict[str, object]:
    match estimator:
        case BoostedTrees():
            return {"kind": "boosted_trees", "model": estimator.to_model()}
        case DenseLayers(kernels, biases):
            arrays = {"kernels": kernels, "biases": biases}
            return {
                "kind": "dense_layers",
                **{name: tuple(map(saved_arrays.encode, weights)) for name, weights in arrays.items()},
            }
        case TopSoftmax(columns, frequencies):
            return {"kind": "top_softmax", "columns": columns, **({"frequencies": frequencies} if frequencies else {})}
    raise UnsafePickle(
        f"A {type(estimator).__name__} cannot be saved as a head: use BoostedTrees, DenseLayers or TopSoftmax."
    )


def _estimator(value: object) -> SavedEstimator:
    if not isinstance(value, dict):
        kind = "class" if isinstance(value, Name) else type(value).__name__
        raise UnsafePickle(f"The head's pickle holds a {kind}, but no estimator. Install it again.")
    if type(value.get("format")) is not int or value["format"] != _FORMAT:
        raise ValueError("its format is unknown to this version")
    match value:
        case {"kind": "boosted_trees", "model": bytes(model)}:
            return BoostedTrees.from_model(model)
        case {"kind": "dense_layers", "kernels": tuple(kernels), "biases": tuple(biases)}:
            return DenseLayers(tuple(map(_array, kernels)), tuple(map(_array, biases)))
        case {"kind": "top_softmax", "columns": tuple(columns)}:
            return TopSoftmax(columns, tuple(value.get("frequencies", ())))
    raise ValueError("its kind is unknown, or a part is missing")


def _array(value: Mapping[str, Any]) -> Any:
    return saved_arrays.decode(value["dtype"], value["shape"], value["data"])


def _check(estimator: SavedEstimator) -> None:
    """Check what holds of every estimator; raises ValueError."""
    if isinstance(estimator, DenseLayers) and not estimator.is_consistent:
        raise ValueError("its layers do not fit together, or a weight is not finite")
    if isinstance(estimator, TopSoftmax) and not estimator.is_consistent:
        raise ValueError("its columns or frequencies are no numbers")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else "a part is missing or of another type"
