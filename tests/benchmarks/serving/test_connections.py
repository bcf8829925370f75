from __future__ import annotations

import pytest

from benchmarks.harness.workload import Workload
from benchmarks.serving.connections import measure, min_share_of_peak, powers_of_two
from tests.support.measurements import check_facts, needs_wrk


@pytest.mark.slow
@needs_wrk
def test_each_number_of_connections_is_measured(tiny_workload: Workload) -> None:
    values = check_facts(measure(tiny_workload, 1, 1, powers_of_two(2)))
    assert list(values) == ["1 connections", "2 connections", "minimum from the peak on / peak"]
    assert min(values.values()) > 0


def test_share_of_the_peak_is_the_minimum_from_the_peak_on() -> None:
    assert min_share_of_peak([10, 20, 18, 19]) == 0.9
    assert min_share_of_peak([10, 20]) == 1


def test_levels_are_powers_of_two() -> None:
    assert powers_of_two(512) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
