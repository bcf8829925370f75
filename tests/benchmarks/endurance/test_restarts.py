from __future__ import annotations

from benchmarks.endurance.restarts import measure
from benchmarks.harness.workload import Workload
from tests.support.measurements import check_targets


def test_restarts_lose_no_request_and_leave_no_file(tiny_workload: Workload) -> None:
    measurement = measure(tiny_workload, 1, 1, clients=4, load_s=0.3)
    values = check_targets(measurement, speed_figures=["start after kill -9 / cold start"])
    assert values["answered requests"] > 0
    assert values["SIGTERM to exit"] > 0
    assert values["start to ready after kill -9"] > 0
