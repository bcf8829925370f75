from __future__ import annotations

import pytest

from benchmarks.harness.workload import Workload
from benchmarks.load.open_loop import Sample
from benchmarks.serving.overload import measure, summarize
from tests.support.measurements import check_facts, needs_wrk


def test_summary_counts_the_deadline_and_rejections_with_retry_after() -> None:
    samples = [
        Sample(0.001, 0.5, 200, False),
        Sample(0.001, 1.5, 200, False),  # answered too late
        Sample(0.001, 1.0, 504, False),  # accepted and timed out
        Sample(0.001, 0.01, 503, True),
        Sample(0.001, 0.02, 503, False),
    ]
    summary = summarize(samples, seconds=2, deadline_s=1)
    assert summary["goodput"] == 0.5
    assert summary["in time"] == pytest.approx(1 / 3)
    assert summary["retry-after"] == 0.5
    assert summary["rejection"] == pytest.approx(20, rel=0.02)


@needs_wrk
def test_overloaded_server_answers_or_rejects(tiny_workload: Workload) -> None:
    values = check_facts(measure(tiny_workload, 2, 0.5, 10_000, 1))
    assert values["peak of the closed loop"] > 0
    assert values["2x rejections with Retry-After"] == 1
