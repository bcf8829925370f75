"""Metrics of predicted probabilities: accuracy, log loss and calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.arrays import Floats, Integers
from models.heads import apply_temperature
from models.manifests import Metrics

#: Bins of the reliability diagram; 15 as in Guo et al., 2017.
_BINS = 15
#: Smallest probability in the log loss, so that a confident mistake costs much but not infinitely much.
_MIN_PROBABILITY = 1e-7


class ReliabilityBin(NamedTuple):
    """Predictions of similar confidence: their number, mean confidence and accuracy."""

    images: int
    confidence: float
    accuracy: float


def measure(probabilities: Floats, labels: Integers, classes: Sequence[str]) -> Metrics:
    """Compute all metrics of one labelled set.

    Args:
        probabilities: [images, classes], rows sum to 1.
        labels: [images], indices of `classes`.
        classes: names in the order of the columns.
    """
    correct = probabilities.argmax(axis=1) == labels
    accuracy_by_class = {
        name: float(correct[labels == index].mean()) for index, name in enumerate(classes) if (labels == index).any()
    }
    return Metrics(
        images=len(labels),
        accuracy=float(correct.mean()),
        accuracy_interval=wilson_interval(int(correct.sum()), len(labels)),
        top5_accuracy=top_k_accuracy(probabilities, labels, 5),
        log_loss=log_loss(probabilities, labels),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        accuracy_by_class=accuracy_by_class,
        most_frequent=float(np.bincount(labels).max() / len(labels)),
    )


def top_k_accuracy(probabilities: Floats, labels: Integers, k: int) -> float:
    """Return the share of images whose class is among the `k` most probable; ties count for the first class.

    scikit-learn's `top_k_accuracy_score` prefers the last class of a tie, warns if `k` is not less than the number of
    classes, and needs another shape for two classes.
    """
    top_k = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((top_k == labels[:, None]).any(axis=1).mean())


def log_loss(probabilities: Floats, labels: Integers) -> float:
    """Return the mean negative logarithm of the true class's probability, in nats."""
    return float(log_losses(probabilities, labels).mean())


def log_losses(probabilities: Floats, labels: Integers) -> npt.NDArray[np.float64]:
    """Return the negative logarithm of the true class's probability for each image, in nats, [images]."""
    of_true_class = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses: npt.NDArray[np.float64] = -np.log(np.maximum(of_true_class, _MIN_PROBABILITY))
    return losses


def expected_calibration_error(probabilities: Floats, labels: Integers, bins: int = _BINS) -> float:
    """Return the mean distance between confidence and accuracy over equally wide bins.

    Source: Guo et al., 2017, arXiv:1706.04599.
    """
    gaps = [
        members.images * abs(members.confidence - members.accuracy)
        for members in reliability_bins(probabilities, labels, bins)
    ]
    return float(sum(gaps) / len(labels))


def reliability_bins(probabilities: Floats, labels: Integers, bins: int = _BINS) -> list[ReliabilityBin]:
    """Return the equally wide bins of confidence that contain any predictions, least confident first."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    members = (bin_of == index for index in np.unique(bin_of))
    return [ReliabilityBin(int(m.sum()), float(confidence[m].mean()), float(correct[m].mean())) for m in members]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion (Wilson, 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def fit_temperature(probabilities: Floats, labels: Integers) -> float:
    """Return the temperature, between 0.1 and 10, with the lowest log loss on held-out images.

    The logarithm of the temperature has a standard normal prior. It matters if there are few images: without it, a
    handful of correct predictions would give the most extreme temperature.

    Source: Guo et al., 2017, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    def penalised_loss(log_temperature: float) -> float:
        loss = len(labels) * log_loss(apply_temperature(probabilities, math.exp(log_temperature)), labels)
        return loss + log_temperature**2 / 2

    best = minimize_scalar(penalised_loss, bounds=(math.log(0.1), math.log(10.0)), method="bounded")
    return float(math.exp(best.x))
