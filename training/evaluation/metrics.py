"""What a set of answers is worth: accuracy, log loss, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.heads import Floats, Integers, apply_temperature
from models.manifests import Metrics

_BINS = 15


class Bin(NamedTuple):
    """Answers of about the same certainty: their number, mean certainty, and the share that is right."""

    images: int
    confidence: float
    accuracy: float


def measure(probabilities: Floats, labels: Integers, classes: Sequence[str]) -> Metrics:
    """All figures of one labelled set.

    Args:
        probabilities: [images, classes], rows that sum to 1.
        labels: [images], indices of classes.
        classes: names, in the order of the columns.
    """
    right = probabilities.argmax(axis=1) == labels
    by_class = {
        name: float(right[labels == index].mean()) for index, name in enumerate(classes) if (labels == index).any()
    }
    return Metrics(
        images=len(labels),
        accuracy=float(right.mean()),
        accuracy_interval=wilson_interval(int(right.sum()), len(labels)),
        top5_accuracy=top_k_accuracy(probabilities, labels, 5),
        log_loss=log_loss(probabilities, labels),
        expected_calibration_error=expected_calibration_error(probabilities, labels),
        accuracy_by_class=by_class,
        most_frequent=float(np.bincount(labels).max() / len(labels)),
    )


def top_k_accuracy(probabilities: Floats, labels: Integers, k: int) -> float:
    """Share of images whose class is among the `k` likeliest."""
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((likeliest == labels[:, None]).any(axis=1).mean())


def log_loss(probabilities: Floats, labels: Integers) -> float:
    """Mean negative log of the probability given to the right class, in nats (no less than 1e-7)."""
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(right, 1e-7)).mean())


def expected_calibration_error(probabilities: Floats, labels: Integers, bins: int = _BINS) -> float:
    """Mean distance between confidence and accuracy over equally wide bins (Guo et al., 2017, arXiv:1706.04599)."""
    gaps = [each.images * abs(each.confidence - each.accuracy) for each in reliability(probabilities, labels, bins)]
    return float(sum(gaps) / len(labels))


def reliability(probabilities: Floats, labels: Integers, bins: int = _BINS) -> list[Bin]:
    """Equally wide bins of certainty that hold any answers, the least certain first."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    members = (bin_of == b for b in np.unique(bin_of))
    return [Bin(int(m.sum()), float(confidence[m].mean()), float(right[m].mean())) for m in members]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    z = 1.959964
    share, denominator = successes / trials, 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / denominator
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def fit_temperature(probabilities: Floats, labels: Integers) -> float:
    """The temperature with the least log loss on held-out images (Guo et al., 2017).

    One doubling or halving is thought as likely as not, which counts where the images are few: without that, a
    handful of right answers would make a head as sure of itself as it can be.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        of_images = len(labels) * log_loss(apply_temperature(probabilities, math.exp(log_temperature)), labels)
        return of_images + log_temperature**2 / 2

    best = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10.0)), method="bounded")
    return float(math.exp(best.x))
