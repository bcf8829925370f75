"""A fitted estimator with its calibration temperature."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import numpy as np
from threadpoolctl import ThreadpoolController

from models.arrays import Floats
from models.heads.estimators import Estimator, softmax

_MIN_PROBABILITY = np.float32(1e-12)  # keeps the logarithm finite


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
    (32 ms of a core per batch, on two cores), while the network needs that core for the next batch.
    """
    return ThreadpoolController()


def apply_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Return softmax(log p / T) of each row; T above 1 makes predictions less confident."""
    if temperature == 1.0:
        return probabilities
    scaled: Floats = softmax(np.log(np.maximum(probabilities, _MIN_PROBABILITY)) / np.float32(temperature))
    return scaled
