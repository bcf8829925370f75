"""Classifier heads: features -> probabilities.

A head is a pickled estimator with `predict_proba`, as in scikit-learn and XGBoost. Unpickling can run arbitrary code.
Therefore a pickle is read only after its SHA-256 matches the manifest, and only by an unpickler with an allow-list.
Existing pickles refer to classes of this module by name: do not move or rename `TopSoftmax` and `DenseLayers`.
"""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from models.arrays import Floats
from models.errors import UnsafePickle

_ALLOWED = {
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
_MIN_PROBABILITY = np.float32(1e-12)  # keeps the logarithm finite


class Estimator(Protocol):
    """Interface of a pickled head."""

    def predict_proba(self, features: Floats) -> npt.NDArray[np.floating[Any]]:
        """[images, features] -> [images, classes]; each row sums to 1."""


@dataclass(frozen=True, slots=True)  # slots: a pickle cannot set attributes of the class itself
class TopSoftmax:
    """Return the probabilities of an extractor's top, reordered to the classifier's classes."""

    columns: tuple[int, ...]

    def predict_proba(self, probabilities: Floats) -> Floats:
        """[images, columns of the top] -> [images, classes]."""
        return probabilities[:, list(self.columns)]


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayers:
    """Dense layers with ReLU activations and a final softmax, in NumPy, so that serving needs no Keras.

    The computation has the precision of the weights, float32 or float64.
    """

    kernels: tuple[npt.NDArray[np.floating[Any]], ...]
    biases: tuple[npt.NDArray[np.floating[Any]], ...]

    def predict_proba(self, features: Floats) -> npt.NDArray[np.floating[Any]]:
        """float32 [images, features] -> [images, classes]."""
        values: npt.NDArray[np.floating[Any]] = features
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            values = np.maximum(values @ kernel + bias, 0)
        return _softmax(values @ self.kernels[-1] + self.biases[-1])


@dataclass(frozen=True)
class Head:
    """A fitted estimator with its calibration temperature (Guo et al., 2017, arXiv:1706.04599)."""

    estimator: Estimator
    temperature: float = 1.0

    def predict_proba(self, features: Floats) -> Floats:
        """float32 [images, features] -> float32 [images, classes]; each row sums to 1."""
        with _thread_limit_lock, _thread_pools(type(self.estimator)).limit(limits=1):
            probabilities = np.asarray(self.estimator.predict_proba(features), dtype=np.float32)
        return apply_temperature(probabilities, self.temperature)


#: Thread limits are per process: two threads that set and restore them concurrently would leave a wrong value.
_thread_limit_lock = threading.Lock()


@functools.cache
def _thread_pools(estimator_type: type[Estimator]) -> ThreadpoolController:  # noqa: ARG001 -- each loads other libraries
    """Find the OpenMP and BLAS thread pools, which `Head` limits to one thread.

    A head computes for one or two milliseconds per batch. With more threads, OpenMP then busy-waits for further work
    (32 ms of a core per batch of `tiny_imagenet` on two cores), while the network needs that core for the next batch.
    """
    return ThreadpoolController()


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Return softmax(log p / T) of each row; T above 1 makes predictions less confident."""
    if temperature == 1.0:
        return probabilities
    scaled: Floats = _softmax(np.log(np.maximum(probabilities, _MIN_PROBABILITY)) / np.float32(temperature))
    return scaled


def _softmax(scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    normalized: npt.NDArray[np.floating[Any]] = powers / powers.sum(axis=1, keepdims=True)
    return normalized


def top_softmax(top_classes: Sequence[str], classes: Sequence[str]) -> TopSoftmax:
    """Create the estimator that reorders a top's columns to `classes`; raises ValueError for a missing class."""
    return TopSoftmax(tuple(list(top_classes).index(name) for name in classes))


def save(estimator: Estimator) -> bytes:
    """Pickle an estimator.

    Raises:
        UnsafePickle: `load` would reject the pickle.
    """
    data = pickle.dumps(
        estimator, protocol=4
    )  # protocol 5 restores arrays by a Python function that a pickle can change
    load(data)
    return data


def load(data: bytes) -> Estimator:
    """Unpickle an estimator. The caller has verified the digest of `data` (`Artifact.read` does).

    Raises:
        UnsafePickle: the pickle refers to a name outside the allow-list, is damaged, or holds no estimator.
    """
    try:
        estimator = _AllowListUnpickler(io.BytesIO(data)).load()
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged pickle can raise nearly any exception
        raise UnsafePickle("The head cannot be loaded: it is not a pickle of a fitted estimator.") from error
    if isinstance(estimator, type) or not callable(getattr(estimator, "predict_proba", None)):
        raise UnsafePickle(f"The head is a {type(estimator).__name__}, which has no predict_proba.")
    checked: Estimator = estimator
    return checked


class _AllowListUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafePickle(
                f"The head's pickle refers to {module}.{name}, which is not allowed. Do not trust its source."
            )
        return getattr(importlib.import_module(module), name)
