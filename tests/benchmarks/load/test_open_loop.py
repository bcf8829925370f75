from __future__ import annotations

from benchmarks.harness.process import free_port
from benchmarks.load import open_loop
from benchmarks.load.request import Request
from tests.support.slow_server import SLOW_S

REQUEST = Request("/", b"x" * 1000, "image/jpeg")


def test_latency_counts_from_the_planned_time(slow_url: str) -> None:
    samples = open_loop.run(slow_url, [REQUEST], rate=1000, seconds=0.04)
    assert [sample.status for sample in samples] == [200] * 40
    # Sent at once and answered one after another: the last request waits for all the others.
    assert max(sample.latency_s for sample in samples) >= 40 * SLOW_S - 0.04
    assert all(sample.latency_s >= sample.lag_s for sample in samples)


def test_rate_does_not_depend_on_late_answers(slow_url: str) -> None:
    samples = open_loop.run(slow_url, [REQUEST], rate=500, seconds=0.1, timeout_s=0.01)
    assert len(samples) == 50
    assert 0 in {sample.status for sample in samples}  # timed out


def test_request_without_a_server_has_status_0() -> None:
    (sample,) = open_loop.run(f"http://127.0.0.1:{free_port()}", [REQUEST], rate=1, seconds=1)
    assert sample.status == 0
