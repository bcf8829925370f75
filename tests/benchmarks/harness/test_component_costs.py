from __future__ import annotations

import time

import numpy as np
import pytest

from benchmarks.harness.component_costs import ComponentCosts, Cost, find_best_batch
from models.cpu import available_cores
from tests.support.clocks import Clock


def test_bound_is_cores_over_cpu_seconds_per_image() -> None:
    costs = ComponentCosts("engine", 8, Cost(1, 0.002), Cost(1, 0.007), Cost(1, 0.001), 0.1, 0.12)
    assert costs.bound == pytest.approx(available_cores() / 0.01)


def test_best_batch_has_the_least_time_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pixels = Clock(0), np.zeros((2, 4, 4, 3), np.uint8)
    monkeypatch.setattr(time, "perf_counter", clock)
    run_s = {1: 1.0, 8: 4.0, 2: 1.5}
    batch_size, cost = find_best_batch(lambda batch: clock.advance(run_s[len(batch)]), pixels, tuple(run_s), seconds=0)
    assert (batch_size, cost.wall_s) == (8, 0.5)
