from __future__ import annotations

import pytest

from benchmarks.endurance import soak, traffic_mix
from benchmarks.endurance.traffic_mix import RequestKind
from benchmarks.harness.workload import Workload
from benchmarks.load.open_loop import Sample
from tests.support.measurements import check_targets, medians


def test_soak_answers_images_rejects_the_rest_and_leaves_nothing(
    tiny_workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "_MAX_CAPACITY_S", 0.3)
    # A busy machine may send only 30 requests in this time: enough for some of each kind with these shares.
    monkeypatch.setattr(traffic_mix, "INVALID_SHARE", 0.2)
    monkeypatch.setattr(traffic_mix, "DISCONNECTED_SHARE", 0.2)
    values = check_targets(soak.measure(tiny_workload, 1, 2), speed_figures=["last p99 / first p99"])
    assert values["valid requests"] > values["invalid requests"] > 0
    assert values["requests whose client disconnected"] > 0
    assert values["last p99 / first p99"] > 0


def test_failures_are_counted_separately_from_rejections() -> None:
    values = medians(
        soak.outcome_figures(
            [
                (RequestKind.VALID, Sample(0, 1, 200, False)),
                (RequestKind.VALID, Sample(0, 1, 500, False)),
                (RequestKind.VALID, Sample(0, 1, 503, True)),
                (RequestKind.VALID, Sample(0, 1, 503, False)),  # without Retry-After: not deliberate
                (RequestKind.VALID, Sample(0, 1, 0, False)),
                (RequestKind.INVALID, Sample(0, 1, 422, False)),
                (RequestKind.INVALID, Sample(0, 1, 200, False)),
                (RequestKind.DISCONNECTED, Sample(0, 1, 0, False)),
            ]
        )
    )
    assert values["5xx other than 503 with Retry-After"] == 2
    assert values["503 with Retry-After"] == 1
    assert values["valid requests neither answered nor rejected with 503"] == 3
    assert values["invalid requests not rejected with 4xx"] == 1
    assert values["requests whose client disconnected"] == 1


def test_latency_at_the_end_is_compared_with_the_start() -> None:
    samples = [(RequestKind.VALID, Sample(0, second / 10, 200, False)) for second in range(1, 11)]
    values = medians(soak.latency_figures(samples, 10, 2))
    assert values["p99 of the first 2 s"] == pytest.approx(200, rel=0.01)
    assert values["last p99 / first p99"] == pytest.approx(5, rel=0.01)


def test_soak_without_answers_at_the_end_is_infinitely_slow() -> None:
    samples = [(RequestKind.VALID, Sample(0, 1, 200 if number < 5 else 503, True)) for number in range(10)]
    assert medians(soak.latency_figures(samples, 10, 2))["last p99 / first p99"] == float("inf")
