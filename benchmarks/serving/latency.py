"""Latency of a single client, compared with the time that decoding, engine and head take without a server."""

from __future__ import annotations

from benchmarks.harness.component_costs import measure_components
from benchmarks.harness.report import Figure, Measurement, machine_facts, run_rounds
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import check_answers, classify_requests, serve
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.load import closed_loop
from benchmarks.options import (
    DEFAULT_CACHE,
    CacheOption,
    ImageSize,
    ImageSizeOption,
    InputSize,
    NetworkOption,
    RoundsOption,
    SecondsOption,
)

MAX_RATIO = 1.25


def run(
    network: NetworkOption = InputSize.LARGE,
    image_size: ImageSizeOption = ImageSize.WEB,
    seconds: SecondsOption = 10,
    rounds: RoundsOption = 3,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Latency of a single client, compared with decoding, engine and head without a server."""
    return measure(make_workload(network, image_size, cache), seconds, rounds)


SCENARIO = Scenario("latency", run, needs_wrk=True)


def measure(workload: Workload, seconds: float, rounds: int) -> Measurement:
    """Measure the median latency at one connection over the time that one image takes without a server."""
    facts = workload.facts | machine_facts()
    requests = classify_requests(workload.images)
    with serve(workload) as server:
        facts["engine"] = server.engine
        check_answers(server.url, requests)

        def measure_once() -> dict[str, float]:
            costs = measure_components(workload.store, workload.model, workload.images)
            result = closed_loop.run(server.url, requests, 1, seconds)
            return {
                "p50": result.p50_s * 1000,
                "p99": result.p99_s * 1000,
                "separate": costs.separate_s * 1000,
                "p50 / separate": result.p50_s / costs.separate_s,
                "sequential": costs.sequential_s * 1000,
                "p50 / sequential": result.p50_s / costs.sequential_s,
            }

        values = run_rounds(rounds, measure_once)
    return Measurement(
        f"Latency of a single client: {workload.title}",
        [
            Figure("p50", values["p50"], "ms"),
            Figure("p99", values["p99"], "ms"),
            Figure("decode + engine + head, each repeated by itself", values["separate"], "ms"),
            Figure("p50 / (decode + engine + head)", values["p50 / separate"], at_most=MAX_RATIO),
            Figure("decode, engine, head in sequence", values["sequential"], "ms"),
            Figure("p50 / sequence", values["p50 / sequential"]),
        ],
        facts,
    )
