"""Synthetic features and labels that a head separates easily."""

from __future__ import annotations

import numpy as np

from models.arrays import Floats, Integers


def examples(classes: int, per_class: int = 20) -> tuple[Floats, Integers]:
    """Return a cloud of points for each class: float32 [n, 6] with very different scales, and the classes, [n]."""
    random = np.random.default_rng(3)
    centres = random.normal(0, 2, (classes, 1, 6))
    points = (centres + random.normal(0, 1, (classes, per_class, 6))).reshape(-1, 6)
    scales, shifts = np.array([0.01, 1, 30, 1, 5, 0.2]), np.array([3, 0, -70, 0, 1, 0])
    return (points * scales + shifts).astype(np.float32), np.repeat(np.arange(classes), per_class)
