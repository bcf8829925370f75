from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.harness.component_costs import ComponentCosts, Cost, find_best_batch
from models.cpu import available_cores


def test_bound_is_cores_over_cpu_seconds_per_image() -> None:
    costs = ComponentCosts("engine", 8, Cost(1, 0.002), Cost(1, 0.007), Cost(1, 0.001), 0.1, 0.12)
    assert costs.bound == pytest.approx(available_cores() / 0.01)


def test_best_batch_has_the_least_time_per_image() -> None:
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    batch_size, cost = find_best_batch(lambda _: time.sleep(0.01), pixels, (1, 8, 2), seconds=0)
    assert batch_size == 8
    assert cost.wall_s >= 0.01 / 8
