"""Heads: features -> probabilities.

A head is a pickled estimator with `predict_proba`, as users of scikit-learn and XGBoost expect. A pickle
runs code when it is read, so one is read only after its SHA-256 has matched the manifest's, and only
through an unpickler that knows the exact names it may load.
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

from models.errors import UnsafePickle

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

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


class Estimator(Protocol):
    """What every pickled head can do."""

    def predict_proba(self, features: Floats) -> npt.NDArray[np.floating[Any]]:
        """[images, features] -> [images, classes], rows that sum to 1."""


@dataclass(frozen=True, slots=True)  # slots: a pickle cannot set attributes of the class itself
class TopSoftmax:
    """Takes the probabilities of an extractor's top as they come, in the classifier's order of classes."""

    columns: tuple[int, ...]

    def predict_proba(self, probabilities: Floats) -> Floats:
        """[images, columns of the top] -> [images, classes]."""
        return probabilities[:, list(self.columns)]


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayers:
    """Dense layers with ReLU between them and a softmax at the end, in NumPy: serving them takes no Keras.

    They compute in the precision of their weights, float32 or float64.
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
    """A fitted estimator and the temperature that calibrates it (Guo et al., 2017)."""

    estimator: Estimator
    temperature: float = 1.0

    def predict_proba(self, features: Floats) -> Floats:
        """float32 [images, features] -> float32 [images, classes], rows that sum to 1."""
        with _one_at_a_time, _libraries(type(self.estimator)).limit(limits=1):
            probabilities = np.asarray(self.estimator.predict_proba(features), dtype=np.float32)
        return apply_temperature(probabilities, self.temperature)


#: The number of threads belongs to the process: two who set it and set it back at once would leave it wrong.
_one_at_a_time = threading.Lock()


@functools.cache
def _libraries(kind: type[Estimator]) -> ThreadpoolController:  # noqa: ARG001 -- each kind brings libraries of its own
    """OpenMP and BLAS, whose threads a head does without.

    It has one or two milliseconds of work for a batch. Their threads would then keep a core busy with waiting for more
    (32 ms for each batch of `tiny_imagenet` on two cores), while the network needs it for the next batch.
    """
    return ThreadpoolController()


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """softmax(log p / T) of each row; T above 1 makes an answer less sure of itself."""
    if temperature == 1.0:
        return probabilities
    scaled: Floats = _softmax(np.log(np.maximum(probabilities, np.float32(1e-12))) / np.float32(temperature))
    return scaled


def _softmax(scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    normalised: npt.NDArray[np.floating[Any]] = powers / powers.sum(axis=1, keepdims=True)
    return normalised


def top_softmax(top_classes: Sequence[str], classes: Sequence[str]) -> TopSoftmax:
    """The estimator that puts a top's columns into the order of `classes`; raises ValueError if one is missing."""
    return TopSoftmax(tuple(list(top_classes).index(name) for name in classes))


def save(estimator: Estimator) -> bytes:
    """Pickle an estimator; refuses what `load` would refuse, so that nothing unreadable is stored."""
    data = pickle.dumps(estimator, protocol=4)  # 5 reads arrays back by a Python function, which a pickle can change
    load(data)
    return data


def load(data: bytes) -> Estimator:
    """Unpickle an estimator whose digest has been checked (`Artifact.read` does).

    Raises:
        UnsafePickle: it names anything outside the allow-list, or is no pickle of an estimator.
    """
    try:
        estimator = _AllowListUnpickler(io.BytesIO(data)).load()
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UnsafePickle("The head cannot be read back: it is no pickle of a fitted estimator.") from error
    if isinstance(estimator, type) or not callable(getattr(estimator, "predict_proba", None)):
        raise UnsafePickle(f"The head is a {type(estimator).__name__}, which has no predict_proba.")
    checked: Estimator = estimator
    return checked


class _AllowListUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafePickle(
                f"The head wants to load {module}.{name}, which is not allowed. Do not trust its source."
            )
        return getattr(importlib.import_module(module), name)
