from __future__ import annotations

import pytest

from benchmarks.harness.workload import Workload
from benchmarks.serving.startup import measure
from tests.support.measurements import check_facts


def test_start_is_timed_until_the_server_is_ready(tiny_workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_LOAD_S", "0.5")
    values = check_facts(measure(tiny_workload, None, tiny_workload.store, 1))
    assert values["start to ready"] > 0.5
    assert values["resident when ready"] > 10
