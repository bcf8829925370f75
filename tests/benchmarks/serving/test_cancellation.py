from __future__ import annotations

from benchmarks.harness.workload import Workload
from benchmarks.load.http_client import encode_request
from benchmarks.load.request import Request
from benchmarks.serving.cancellation import measure, run_loop
from tests.support.measurements import check_facts
from tests.support.slow_server import SLOW_S


def test_disconnecting_clients_are_counted_separately(slow_url: str) -> None:
    messages = [encode_request(slow_url, Request("/", b"x" * 1000, "image/jpeg"))]
    result = run_loop(slow_url, messages, 2, 2, seconds=0.3, max_wait_s=SLOW_S / 2)
    assert result.answered > 0
    assert result.disconnected > 0
    assert (result.failed, result.answered_early) == (0, 0)  # no answer comes within that wait


def test_cancelled_work_is_measured_with_the_server_metrics(tiny_workload: Workload) -> None:
    values = check_facts(measure(tiny_workload, 4, 0.5, 1))
    assert values["failed requests of staying clients"] == 0
    assert values["rate of a staying client / rate when all stay"] > 0
    assert 0 <= values["share of classified images without a client"] < 1
