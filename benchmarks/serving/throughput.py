"""Throughput of the server, compared with the upper bound from the costs of decoding, engine and head."""

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
    ConnectionsOption,
    ImageSize,
    ImageSizeOption,
    InputSize,
    NetworkOption,
    RoundsOption,
    SecondsOption,
)

MIN_SHARE_OF_BOUND = {InputSize.LARGE: 0.85, InputSize.SHIPPED: 0.70}
_WARM_UP_S = 2


def run(
    network: NetworkOption = InputSize.LARGE,
    image_size: ImageSizeOption = ImageSize.WEB,
    connections: ConnectionsOption = 32,
    seconds: SecondsOption = 10,
    rounds: RoundsOption = 3,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Throughput compared with the upper bound from the costs of decoding, engine and head."""
    return measure(make_workload(network, image_size, cache), connections, seconds, rounds)


SCENARIO = Scenario("throughput", run, needs_wrk=True)


def measure(workload: Workload, connections: int, seconds: float, rounds: int) -> Measurement:
    """Measure a closed loop, and the costs anew in every round while the server is idle."""
    facts = workload.facts | machine_facts()
    requests = classify_requests(workload.images)
    with serve(workload) as server:
        facts["engine"] = server.engine
        check_answers(server.url, requests)
        closed_loop.run(server.url, requests, connections, _WARM_UP_S)

        def measure_once() -> dict[str, float]:
            costs = measure_components(workload.store, workload.model, workload.images)
            facts["engine alone"] = f"{costs.engine_name}, fastest at batch size {costs.batch_size}"
            rate = closed_loop.run(server.url, requests, connections, seconds).rate
            return {
                "rate": rate,
                "bound": costs.bound,
                "share": rate / costs.bound,
                "decode": costs.decode.cpu_s * 1000,
                "engine": costs.engine.cpu_s * 1000,
                "head": costs.head.cpu_s * 1000,
            }

        values = run_rounds(rounds, measure_once)
    return Measurement(
        f"Throughput at {connections} connections: {workload.title}",
        [
            Figure("throughput", values["rate"], "images/s"),
            Figure("upper bound", values["bound"], "images/s"),
            Figure("throughput / upper bound", values["share"], at_least=MIN_SHARE_OF_BOUND[workload.input_size]),
            *(Figure(f"{name}, all cores", values[name], "CPU ms/image") for name in ("decode", "engine", "head")),
        ],
        facts,
    )
