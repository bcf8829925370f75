"""Random weights that differ from the initial weights of a network."""

from __future__ import annotations

import numpy as np

from models.networks import Tensors

TOPS = {"tiny": 5, "cifar": 3}
"""Names and widths of the classification layers of networks that tests build."""


def randomized(tensors: Tensors, seed: int = 0) -> Tensors:
    """Return random tensors of the same shapes and dtypes; variances are positive."""
    random = np.random.default_rng(seed)
    return {
        name: (random.uniform(0.5, 1.5, value.shape) if "variance" in name else random.normal(0, 0.05, value.shape))
        .astype(value.dtype)
        for name, value in tensors.items()
    }  # fmt: skip
