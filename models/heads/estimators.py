"""Estimators that need no library but NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from models.arrays import Floats

FloatArray = npt.NDArray[np.floating[Any]]


class Estimator(Protocol):
    """Interface of a fitted head, as in scikit-learn and XGBoost."""

    def predict_proba(self, features: Floats) -> FloatArray:
        """[images, features] -> [images, classes]; each row sums to 1."""


@dataclass(frozen=True, slots=True)
class TopSoftmax:
    """Return the probabilities of an extractor's top, reordered to the classifier's classes.

    Attributes:
        columns: of the top, for each class.
        frequencies: how many times as frequent each class is among the images to classify as among those that the top
            was fitted on; empty: as frequent. By Bayes' theorem, probabilities are multiplied by them and normalized
            (Saerens et al., 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities").
    """

    columns: tuple[int, ...]
    frequencies: tuple[float, ...] = ()

    def predict_proba(self, probabilities: Floats) -> Floats:
        """[images, columns of the top] -> [images, classes]."""
        reordered = probabilities[:, list(self.columns)]
        if not self.frequencies:
            return reordered
        weighted = reordered * np.array(self.frequencies, dtype=np.float32)
        normalized: Floats = weighted / weighted.sum(axis=1, keepdims=True)
        return normalized

    def fits(self, features: int, classes: int) -> bool:
        """Return whether every column exists among `features` columns, and there is one for each class."""
        return (
            len(self.columns) == classes
            and all(0 <= column < features for column in self.columns)
            and len(self.frequencies) in (0, classes)
        )

    @property
    def is_consistent(self) -> bool:
        """True if the columns are numbers, and the frequencies are finite and above 0."""
        return all(type(column) is int for column in self.columns) and all(
            isinstance(frequency, float) and 0 < frequency < math.inf for frequency in self.frequencies
        )


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayers:
    """Dense layers with ReLU activations and a final softmax, in NumPy, so that serving needs no Keras.

    The computation has the precision of the weights, float32 or float64.

    Attributes:
        kernels: [inputs, outputs] of each layer.
        biases: [outputs] of each layer.
    """

    kernels: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]

    def predict_proba(self, features: Floats) -> FloatArray:
        """float32 [images, features] -> [images, classes]."""
        values: FloatArray = features
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            values = np.maximum(values @ kernel + bias, 0)
        return softmax(values @ self.kernels[-1] + self.biases[-1])

    def fits(self, features: int, classes: int) -> bool:
        """Return whether the layers take this number of features and return this number of probabilities."""
        return (len(self.kernels[0]), len(self.biases[-1])) == (features, classes)

    @property
    def is_consistent(self) -> bool:
        """True if there is a layer, each takes the outputs of the one before, and all weights are finite."""
        return (
            len(self.kernels) == len(self.biases) > 0
            and all(kernel.ndim == 2 and kernel.size for kernel in self.kernels)
            and all(bias.shape == kernel.shape[1:] for kernel, bias in zip(self.kernels, self.biases, strict=True))
            and all(before.shape[1] == after.shape[0] for before, after in pairwise(self.kernels))
            and all(np.isfinite(weights).all() for weights in (*self.kernels, *self.biases))
        )


def top_softmax(top_classes: Sequence[str], classes: Sequence[str], frequencies: Sequence[float] = ()) -> TopSoftmax:
    """Create the estimator that reorders a top's columns to `classes`; raises ValueError for a missing class.

    Args:
        top_classes: in the order of the top's columns.
        classes: of the classifier.
        frequencies: see `TopSoftmax`.
    """
    return TopSoftmax(tuple(list(top_classes).index(name) for name in classes), tuple(frequencies))


def linear_softmax(coefficients: FloatArray, intercepts: FloatArray) -> DenseLayers:
    """Create the estimator of a logistic regression as scikit-learn fits it.

    Args:
        coefficients: [classes, features]; [1, features] for two classes: those of the second against the first.
        intercepts: [classes]; [1] for two classes.
    """
    if len(coefficients) == 1:  # a sigmoid is a softmax whose first score is 0
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    return DenseLayers((np.ascontiguousarray(coefficients.T),), (intercepts,))


def softmax(scores: FloatArray) -> FloatArray:
    """Return the softmax of each row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    normalized: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return normalized
