from __future__ import annotations

import pytest

from benchmarks.endurance import disconnects
from benchmarks.endurance.disconnecting_client import DisconnectPhase
from benchmarks.harness.workload import Workload
from tests.support.measurements import check_targets


def test_disconnects_in_each_phase_leak_nothing(tiny_workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disconnects, "_BASELINE_S", 0.3)
    values = check_targets(disconnects.measure(tiny_workload, 30, 4))
    assert [values[phase] for phase in DisconnectPhase] == [10, 10, 10]
    assert values["requests cancelled by the server"] > 0
