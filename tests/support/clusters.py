"""Features and labels that a head learns at once."""

from __future__ import annotations

import numpy as np

from models.arrays import Floats, Integers


def examples(classes: int, each: int = 20) -> tuple[Floats, Integers]:
    """Clouds of points around a centre for each class; the features have very different scales."""
    random = np.random.default_rng(3)
    centres = random.normal(0, 2, (classes, 1, 6))
    points = (centres + random.normal(0, 1, (classes, each, 6))).reshape(-1, 6)
    scales, shifts = np.array([0.01, 1, 30, 1, 5, 0.2]), np.array([3, 0, -70, 0, 1, 0])
    return (points * scales + shifts).astype(np.float32), np.repeat(np.arange(classes), each)
