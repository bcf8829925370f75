from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.harness.workload import Workload
from benchmarks.serving.memory import measure
from tests.support.measurements import check_facts, needs_wrk


@pytest.mark.slow
@needs_wrk
def test_memory_is_measured_before_and_after(tiny_workload: Workload) -> None:
    workload = replace(tiny_workload, images=tiny_workload.images[:2])
    values = check_facts(measure(workload, 10, 2, load_s=1))
    assert values["growth"] == pytest.approx(values["resident after"] - values["resident before"])
