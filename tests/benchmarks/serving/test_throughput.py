from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.harness.workload import Workload
from benchmarks.serving.throughput import measure
from models.artifacts.store import Store
from tests.support.measurements import check_facts, needs_wrk


@pytest.mark.slow
@needs_wrk
def test_throughput_is_compared_with_the_bound(network_store: Store, tiny_workload: Workload) -> None:
    workload = replace(tiny_workload, store=network_store.root, module="app")
    values = check_facts(measure(workload, 2, 1, 1))
    assert values["throughput / upper bound"] == pytest.approx(values["throughput"] / values["upper bound"])
