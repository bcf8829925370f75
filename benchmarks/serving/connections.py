"""Throughput by number of connections: it must not fall once it has reached its peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

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

MIN_SHARE_OF_PEAK = 0.95
_MIN_QUEUE_SIZE = 256


def run(
    network: NetworkOption = InputSize.LARGE,
    image_size: ImageSizeOption = ImageSize.WEB,
    max_connections: Annotated[
        int, typer.Option("--most", min=1, help="Largest number of connections; doubles from 1 up to it.")
    ] = 512,
    seconds: SecondsOption = 8,
    rounds: RoundsOption = 3,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Throughput from 1 connection to 512."""
    return measure(make_workload(network, image_size, cache), seconds, rounds, powers_of_two(max_connections))


SCENARIO = Scenario("connections", run, needs_wrk=True)


def measure(workload: Workload, seconds: float, rounds: int, levels: Sequence[int]) -> Measurement:
    """Measure a closed loop for each number of connections, on a server whose queue has room for all of them."""
    facts = workload.facts | machine_facts()
    requests = classify_requests(workload.images)
    queue_size = 2 * max(_MIN_QUEUE_SIZE, *levels)  # twice: the last requests of the previous load may still be queued
    with serve(workload, APP_QUEUE_SIZE=str(queue_size)) as server:
        facts["engine"] = server.engine
        check_answers(server.url, requests)

        def measure_once() -> dict[str, float]:
            rates = {str(level): closed_loop.run(server.url, requests, level, seconds).rate for level in levels}
            return {**rates, "share": min_share_of_peak(list(rates.values()))}

        values = run_rounds(rounds, measure_once)
    return Measurement(
        f"Throughput by connections: {workload.title}",
        [
            *(Figure(f"{level} connections", values[str(level)], "images/s") for level in levels),
            Figure("minimum from the peak on / peak", values["share"], at_least=MIN_SHARE_OF_PEAK),
        ],
        facts,
    )


def powers_of_two(maximum: int) -> list[int]:
    """Return 1, 2, 4, ... up to a maximum."""
    return [2**power for power in range(maximum.bit_length())]


def min_share_of_peak(rates: Sequence[float]) -> float:
    """Return the lowest rate from the peak on, as a share of the peak."""
    peak = rates.index(max(rates))
    return min(rates[peak:]) / rates[peak]
