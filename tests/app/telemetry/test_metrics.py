"""The buckets of histograms, and which label a value gets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.batching.status import BatchingStatus
from app.telemetry.metrics import Metrics

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"classifier_{name}", labels)


def test_each_batch_size_has_its_bucket() -> None:
    metrics = Metrics()
    observe = metrics.batch_observer("net")
    for size in (*SIZES, 129):
        observe(size, 0.5)
    counts = [value(metrics, "batch_size_bucket", extractor="net", le=str(float(size))) for size in SIZES]
    assert counts == list(range(1, len(SIZES) + 1))
    assert value(metrics, "batch_size_bucket", extractor="net", le="+Inf") == len(SIZES) + 1
    assert value(metrics, "batch_size_sum", extractor="net") == sum(SIZES) + 129
    assert value(metrics, "inference_duration_seconds_sum", extractor="net") == 0.5 * (len(SIZES) + 1)


@pytest.mark.parametrize("name", ["decode", "queue", "inference", "request"])
def test_each_order_of_magnitude_of_seconds_has_its_bucket(name: str) -> None:
    metrics = Metrics()
    labels = {"decode": {}, "queue": {"extractor": "n"}, "inference": {"extractor": "n"}}.get(
        name, {"method": "GET", "route": "/"}
    )
    observers: dict[str, Callable[[float], object]] = {
        "decode": metrics.decode_duration.observe,
        "queue": metrics.queue_duration.labels("n").observe,
        "inference": lambda seconds: metrics.batch_observer("n")(1, seconds),
        "request": lambda seconds: metrics.count_request("GET", "/", 200, seconds),
    }
    for seconds in (*SECONDS, 11):
        observers[name](seconds)
    full = f"{name}_duration_seconds"
    counts = [value(metrics, f"{full}_bucket", **labels, le=str(seconds)) for seconds in SECONDS]
    assert counts == list(range(1, len(SECONDS) + 1))
    assert value(metrics, f"{full}_count", **labels) == len(SECONDS) + 1


def test_requests_are_counted_by_method_route_and_status() -> None:
    metrics = Metrics()
    for method, route, status in (("GET", "/", 200), ("GET", "/", 200), ("GET", "/", 404), ("POST", "/", 200)):
        metrics.count_request(method, route, status, 1.0)
    counts = [
        value(metrics, "requests_total", method=method, route="/", status=status)
        for method, status in (("GET", "200"), ("GET", "404"), ("POST", "200"))
    ]
    assert counts == [2, 1, 1]
    assert value(metrics, "request_duration_seconds_sum", method="GET", route="/") == 3


def test_gauges_show_the_state_of_each_batcher_and_forget_earlier_ones() -> None:
    metrics = Metrics()
    metrics.set_models([], {"old": lambda: BatchingStatus(9, 9, 9, 9, 9, 9, 9, 9, 9)})
    metrics.set_models([], {"net": lambda: BatchingStatus(1, 2, 3, 4, 1.5, 1.25, 0.005, 0.006, 0.007)})
    gauges = {"queue_depth": 1, "batch_target_size": 4, "batch_pace": 1.5}
    assert {name: value(metrics, name, extractor="net") for name in gauges} == gauges
    assert {value(metrics, name, extractor="old") for name in gauges} == {None}
