"""One client that waits for each answer, beside decoding, engine and head alone."""

from __future__ import annotations

from benchmarks.harness import component_costs as costs
from benchmarks.harness.report import Figure, Measurement, machine, repeat
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Workload
from benchmarks.load.closed_loop import served

TARGET = 1.25


def measure(work: Workload, seconds: float, rounds: int) -> Measurement:
    """The median latency of one connection over the time that the work itself takes for one image alone."""
    facts = work.facts | machine()
    requests = classify(work.pictures)
    with serving(work) as ours:
        facts["engine"] = ours.engine
        check(ours.url, requests)

        def once() -> dict[str, float]:
            cost = costs.measure(work.store, work.model, work.pictures)
            closed = served(ours.url, requests, 1, seconds)
            return {
                "p50": closed.p50 * 1000,
                "p99": closed.p99 * 1000,
                "work": cost.alone_s * 1000,
                "p50/work": closed.p50 / cost.alone_s,
                "in turn": cost.in_turn_s * 1000,
                "p50/in turn": closed.p50 / cost.in_turn_s,
            }

        found = repeat(rounds, once)
    return Measurement(
        f"One client: {work.title}",
        [
            Figure("p50", found["p50"], "ms"),
            Figure("p99", found["p99"], "ms"),
            Figure("decode + engine + head", found["work"], "ms"),
            Figure("p50 over that", found["p50/work"], at_most=TARGET),
            Figure("the three in turn, image after image", found["in turn"], "ms"),
            Figure("p50 over the three in turn", found["p50/in turn"]),
        ],
        facts,
    )
