from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.harness.workload import Workload
from benchmarks.serving.latency import measure
from models.artifacts.store import Store
from tests.support.measurements import check_facts, needs_wrk


@pytest.mark.slow
@needs_wrk
def test_latency_is_compared_with_the_components(network_store: Store, tiny_workload: Workload) -> None:
    workload = replace(tiny_workload, store=network_store.root, module="app")
    values = check_facts(measure(workload, 1, 1))
    components_ms = values["decode + engine + head, each repeated by itself"]
    assert values["p50 / (decode + engine + head)"] == pytest.approx(values["p50"] / components_ms)
    assert values["p50 / sequence"] == pytest.approx(values["p50"] / values["decode, engine, head in sequence"])
