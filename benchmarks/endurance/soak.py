"""Soak test: hours of mixed load without server errors, growth of memory, or rising latency."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Annotated

import typer
import uvloop

from benchmarks.endurance.leak_check import growth_figures, pending_figures, wait_until_idle
from benchmarks.endurance.traffic_mix import RequestKind, TrafficMix
from benchmarks.harness.report import Figure, Measurement, machine_facts
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import CANCELLED_METRIC, check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.load.http_client import encode_request
from benchmarks.load.open_loop import Sample, percentile, send_at_rate
from benchmarks.options import DEFAULT_CACHE, ConnectionsOption, ImageSize, InputSize
from benchmarks.serving.cancellation import run_loop
from models.console.progress import Track, silent, track

LOAD, MAX_LATENCY_RATIO = 0.8, 1.2
_MAX_CAPACITY_S, _MAX_WARM_UP_S, _MAX_WINDOW_S = 10.0, 60.0, 300.0
_MIN_WINDOWS = 6  # a short soak has shorter windows
_CAPACITY_RUNS = 3
_OK, _CLIENT_ERROR, _SERVER_ERROR, _UNAVAILABLE = 200, 400, 500, 503

KindsAndSamples = Sequence[tuple[RequestKind, Sample]]


def run(
    minutes: Annotated[float, typer.Option(min=0.1, help="Duration of the load after a warm-up.")] = 30,
    connections: ConnectionsOption = 32,
) -> Measurement:
    """Mixed load at 80 % of the capacity: errors, growth of memory, and final latency."""
    workload = make_workload(InputSize.SHIPPED, ImageSize.WEB, DEFAULT_CACHE)
    return measure(workload, 60 * minutes, connections, track)


SCENARIO = Scenario("soak", run)


def measure(
    workload: Workload,
    seconds: float,
    clients: int,
    show_progress: Track = silent,
) -> Measurement:
    """Send mixed traffic at 80 % of the capacity of a closed loop.

    The same mix warms up the server first, so that what it allocates only once does not count as growth.

    Args:
        workload: to serve.
        seconds: duration of the load.
        clients: of the closed loop that measures the capacity.
        show_progress: shows the number of requests.
    """
    facts = workload.facts | machine_facts()
    requests = classify_requests(workload.images)
    capacity_s = min(_MAX_CAPACITY_S, seconds)
    with serve(workload) as server:
        facts["engine"] = server.engine
        check_answers(server.url, requests)
        messages = [encode_request(server.url, request) for request in requests]
        baselines = [run_loop(server.url, messages, clients, 0, capacity_s, 0) for _ in range(_CAPACITY_RUNS)]
        rate = LOAD * statistics.median(baseline.rate for baseline in baselines)
        load = _MixedLoad(TrafficMix(server.url, workload.images, baselines[-1].latency_s), rate, show_progress)
        load.run("Warming up", min(_MAX_WARM_UP_S, seconds / _MIN_WINDOWS))
        before = wait_until_idle(server)
        cancelled_before = server.metric(CANCELLED_METRIC)
        samples = load.run("Soaking", seconds)
        after = wait_until_idle(server)
        cancelled = server.metric(CANCELLED_METRIC) - cancelled_before
        rate_at_end = run_loop(server.url, messages, clients, 0, capacity_s, 0).rate
    return Measurement(
        f"{seconds / 60:g} minutes at {LOAD:.0%} of capacity: {workload.title}",
        [
            Figure("capacity of a closed loop", [baseline.rate for baseline in baselines], "images/s"),
            Figure("capacity at the end", [rate_at_end], "images/s"),
            Figure("requests", [len(samples)]),
            Figure("rate of requests", [len(samples) / seconds], "per s"),
            *outcome_figures(samples),
            Figure("requests cancelled by the server", [cancelled]),
            *latency_figures(samples, seconds, min(_MAX_WINDOW_S, seconds / _MIN_WINDOWS)),
            *pending_figures(after),
            *growth_figures(before, after),
        ],
        facts,
    )


def outcome_figures(samples: KindsAndSamples) -> list[Figure]:
    """Count requests by kind and outcome; unexpected outcomes have the target 0."""
    completed = [(kind, sample) for kind, sample in samples if kind is not RequestKind.DISCONNECTED]
    rejected_count = sum(_is_rejection(sample) for _, sample in completed)
    accepted = [(kind, sample.status) for kind, sample in completed if not _is_rejection(sample)]
    valid_statuses = [status for kind, status in accepted if kind is RequestKind.VALID]
    invalid_statuses = [status for kind, status in accepted if kind is RequestKind.INVALID]

    def count(kind: RequestKind) -> int:
        return sum(sample_kind is kind for sample_kind, _ in samples)

    server_errors = sum(status >= _SERVER_ERROR for _, status in accepted)
    unanswered = sum(status != _OK for status in valid_statuses)
    not_rejected = sum(not _CLIENT_ERROR <= status < _SERVER_ERROR for status in invalid_statuses)
    return [
        Figure("5xx other than 503 with Retry-After", [server_errors], at_most=0),
        Figure("503 with Retry-After", [rejected_count]),
        Figure("valid requests", [count(RequestKind.VALID)]),
        Figure("valid requests neither answered nor rejected with 503", [unanswered], at_most=0),
        Figure("invalid requests", [count(RequestKind.INVALID)]),
        Figure("invalid requests not rejected with 4xx", [not_rejected], at_most=0),
        Figure("requests whose client disconnected", [count(RequestKind.DISCONNECTED)]),
    ]


def latency_figures(samples: KindsAndSamples, seconds: float, window_s: float) -> list[Figure]:
    """Compare the latency of valid requests in the last window with that in the first one.

    Args:
        samples: in the order of their planned times.
        seconds: duration of the load.
        window_s: duration of a window.
    """
    size = max(1, round(len(samples) * window_s / seconds))
    first, last = (
        percentile(
            [sample.latency_s for kind, sample in part if kind is RequestKind.VALID and sample.status == _OK], 99
        )
        for part in (samples[:size], samples[-size:])
    )
    ratio = last / first if first and last else math.inf
    return [
        Figure(f"p99 of the first {window_s:.0f} s", [first * 1000], "ms"),
        Figure(f"p99 of the last {window_s:.0f} s", [last * 1000], "ms"),
        Figure("last p99 / first p99", [ratio], at_most=MAX_LATENCY_RATIO),
        Figure(
            "p99 of the load generator's lag", [percentile([sample.lag_s for _, sample in samples], 99) * 1000], "ms"
        ),
    ]


def _is_rejection(sample: Sample) -> bool:
    """Return True for a deliberate 503, which has a Retry-After header."""
    return sample.status == _UNAVAILABLE and sample.has_retry_after


class _MixedLoad:
    """An open loop of mixed traffic."""

    def __init__(self, mix: TrafficMix, rate: float, show_progress: Track) -> None:
        self._mix, self._rate, self._show_progress = mix, rate, show_progress

    def run(self, description: str, seconds: float) -> KindsAndSamples:
        """Send the mix; return kind and sample of each request in the order of the planned times."""
        return uvloop.run(self._run(description, seconds))

    async def _run(self, description: str, seconds: float) -> KindsAndSamples:
        with self._show_progress(description, int(self._rate * seconds), "requests") as advance:

            async def send(number: int, planned: float) -> tuple[RequestKind, Sample]:
                kind_and_sample = await self._mix.send(number, planned)
                advance(1)
                return kind_and_sample

            samples = await send_at_rate(self._rate, seconds, send)
        await self._mix.close()
        return samples
