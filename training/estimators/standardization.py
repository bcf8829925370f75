"""Standardization of features before a fit."""

from __future__ import annotations

import numpy as np

from models.arrays import Floats

#: Added to every standard deviation, so that a feature that never changes does not divide by zero. Features are of
#: order 1, so it changes no other result.
_EPSILON = np.float32(1e-6)


def mean_and_deviation(features: Floats) -> tuple[Floats, Floats]:
    """Compute the mean and the standard deviation (above zero) of each column, float32 [features] each."""
    return features.mean(axis=0), features.std(axis=0) + _EPSILON
