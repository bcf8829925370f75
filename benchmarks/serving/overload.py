"""Overload: a constant rate above the capacity, to measure goodput and the speed of rejections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from benchmarks.harness.report import Figure, Measurement, machine_facts, run_rounds
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.load import closed_loop, open_loop
from benchmarks.load.open_loop import Sample, percentile
from benchmarks.options import (
    DEFAULT_CACHE,
    CacheOption,
    ConnectionsOption,
    ImageSize,
    ImageSizeOption,
    InputSize,
    NetworkOption,
    RoundsOption,
    SecondsOption,
)
from models.cpu import available_cores

FACTORS = (2, 4)
MIN_GOODPUT, MAX_REJECTION_MS = 0.9, 50.0
_OK, _UNAVAILABLE = 200, 503


def run(
    network: NetworkOption = InputSize.LARGE,
    image_size: ImageSizeOption = ImageSize.WEB,
    connections: ConnectionsOption = 32,
    deadline_ms: Annotated[int, typer.Option(min=1, help="Deadline of every request in milliseconds.")] = 1000,
    seconds: SecondsOption = 10,
    rounds: RoundsOption = 3,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Goodput and rejections at twice and four times the capacity."""
    return measure(make_workload(network, image_size, cache), connections, seconds, deadline_ms, rounds)


SCENARIO = Scenario("overload", run, needs_wrk=True)


def measure(workload: Workload, connections: int, seconds: float, deadline_ms: int, rounds: int) -> Measurement:
    """Measure the peak in a closed loop, then open loops at multiples of it in which every request has a deadline.

    A response is in time if it arrives within the deadline, counted from the planned time of its request.
    """
    facts = workload.facts | machine_facts() | {"deadline": f"{deadline_ms} ms"}
    requests = classify_requests(workload.images)
    deadline_requests = classify_requests(workload.images, **{"X-Request-Timeout-Ms": str(deadline_ms)})
    with serve(workload) as server:
        facts["engine"] = server.engine
        check_answers(server.url, requests)

        def measure_once() -> dict[str, float]:
            peak = closed_loop.run(server.url, requests, connections, seconds).rate
            values = {"peak": peak}
            for factor in FACTORS:
                start, start_cpu = time.perf_counter(), time.process_time()
                samples = open_loop.run(server.url, deadline_requests, factor * peak, seconds)
                cores_used = (time.process_time() - start_cpu) / (time.perf_counter() - start)
                values[f"{factor}x generator"] = cores_used / available_cores()
                for name, value in summarize(samples, seconds, deadline_ms / 1000).items():
                    values[f"{factor}x {name}"] = value
                values[f"{factor}x goodput"] /= peak
            return values

        values = run_rounds(rounds, measure_once)
    return Measurement(
        f"Overload: {workload.title}",
        [Figure("peak of the closed loop", values["peak"], "images/s")]
        + [figure for factor in FACTORS for figure in _figures(f"{factor}x ", values)],
        facts,
    )


def summarize(samples: Sequence[Sample], seconds: float, deadline_s: float) -> dict[str, float]:
    """Summarize an open loop.

    Returns:
        goodput: responses in time per second.
        in time: share of the accepted requests whose response arrived in time.
        retry-after: share of the rejections with a Retry-After header.
        rejection: 99th percentile of the latency of rejections in ms.
        lag: 99th percentile of how late requests were sent in ms.
    """
    in_time = [sample for sample in samples if sample.status == _OK and sample.latency_s <= deadline_s]
    rejected = [sample for sample in samples if sample.status == _UNAVAILABLE]
    accepted_count = len(samples) - len(rejected)
    return {
        "goodput": len(in_time) / seconds,
        "in time": len(in_time) / accepted_count if accepted_count else 1.0,
        "retry-after": sum(sample.has_retry_after for sample in rejected) / len(rejected) if rejected else 1.0,
        "rejection": percentile([sample.latency_s for sample in rejected], 99) * 1000,
        "lag": percentile([sample.lag_s for sample in samples], 99) * 1000,
    }


def _figures(prefix: str, values: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(f"{prefix}goodput / peak", values[f"{prefix}goodput"], at_least=MIN_GOODPUT),
        Figure(f"{prefix}accepted requests answered in time", values[f"{prefix}in time"], at_least=1.0),
        Figure(f"{prefix}rejections with Retry-After", values[f"{prefix}retry-after"], at_least=1.0),
        Figure(f"{prefix}p99 of rejections", values[f"{prefix}rejection"], "ms", at_most=MAX_REJECTION_MS),
        Figure(f"{prefix}p99 of the load generator's lag", values[f"{prefix}lag"], "ms"),
        Figure(f"{prefix}share of all cores used by the load generator", values[f"{prefix}generator"]),
    ]
