from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.harness.stores import speed_store
from benchmarks.harness.workload import Workload
from benchmarks.serving.many_heads import measure
from tests.support.measurements import check_facts, needs_wrk


@pytest.mark.slow
@needs_wrk
@pytest.mark.timeout(1800)
def test_twenty_classifiers_are_compared_with_one(tiny_workload: Workload, tmp_path: Path) -> None:
    workload = replace(tiny_workload, store=speed_store(tmp_path), model="speed", module="app")
    values = check_facts(measure(workload, tmp_path, 2, 1, 1))
    assert values["mean size of a head's file"] > 0
