"""From one connection to 512: throughput may not fall once it has reached its peak."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.harness.report import Figure, Measurement, machine, repeat
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.closed_loop import served

TARGET = 0.95
_LEAST_QUEUE = 256


def measure(work: Workload, seconds: float, rounds: int, levels: Sequence[int]) -> Measurement:
    """Closed loops one after another, on a server whose queue has room for all connections."""
    facts = work.facts | machine()
    requests = classify(work.pictures)
    places = 2 * max(_LEAST_QUEUE, *levels)  # also for what a load before has left behind
    with serving(work, APP_QUEUE_SIZE=str(places)) as ours:
        facts["engine"] = ours.engine
        check(ours.url, requests)

        def once() -> dict[str, float]:
            rates = {str(level): served(ours.url, requests, level, seconds).rate for level in levels}
            return {**rates, "kept": kept(list(rates.values()))}

        found = repeat(rounds, once)
    figures = [Figure(f"{level} connections", found[str(level)], "images/s") for level in levels]
    lasting = Figure("least after the peak, share of the peak", found["kept"], at_least=TARGET)
    return Measurement(f"By connections: {work.title}", [*figures, lasting], facts)


def up_to(most: int) -> list[int]:
    """1, 2, 4, ... and no more than that."""
    return [2**power for power in range(most.bit_length())]


def kept(rates: Sequence[float]) -> float:
    """The least rate from the peak on, as a share of it."""
    peak = rates.index(max(rates))
    return min(rates[peak:]) / rates[peak]
