"""Measurements of a network during its fit, added up over chunks of images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, xlogy

from models.arrays import Floats, Integers
from training.network.history import TeacherMetrics, TopMetrics

_SMALLEST = 1e-12
"""Lower limit of probabilities before their logarithm is taken."""


@dataclass
class LabelMeasure:
    """Accuracy and mean log loss (nats) of a top."""

    _images: int = 0
    _correct: int = 0
    _loss: float = 0.0

    def add(self, probabilities: Floats, labels: Integers) -> None:
        """Add images: float32 [n, classes], int64 [n]."""
        self._images += len(labels)
        self._correct += int((probabilities.argmax(axis=1) == labels).sum())
        of_labels = np.maximum(probabilities[np.arange(len(labels)), labels], _SMALLEST)
        self._loss -= float(np.log(of_labels).sum())

    def metrics(self) -> TopMetrics | None:
        """Return the metrics of all images; None if there were none."""
        if not self._images:
            return None
        return TopMetrics(
            images=self._images, accuracy=self._correct / self._images, log_loss=self._loss / self._images
        )


@dataclass
class TeacherMeasure:
    """Agreement with the first class of the teacher, and mean Kullback-Leibler divergence (nats) from it."""

    _images: int = 0
    _equal: int = 0
    _divergence: float = 0.0

    def add(self, logits: Floats, teacher: Floats) -> None:
        """Add images: logits of the network, and probabilities by the teacher, float32 [n, classes] each."""
        self._images += len(teacher)
        self._equal += int((logits.argmax(axis=1) == teacher.argmax(axis=1)).sum())
        targets = teacher / teacher.sum(axis=1, keepdims=True, dtype=np.float64)
        self._divergence += float((xlogy(targets, targets) - targets * log_softmax(logits, axis=1)).sum())

    def metrics(self) -> TeacherMetrics | None:
        """Return the metrics of all images; None if there were none."""
        if not self._images:
            return None
        return TeacherMetrics(
            images=self._images, agreement=self._equal / self._images, divergence=self._divergence / self._images
        )
