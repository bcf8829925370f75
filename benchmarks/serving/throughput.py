"""What is served beside the bound: the cores over what decoding, network and head cost an image."""

from __future__ import annotations

from benchmarks.harness import component_costs as costs
from benchmarks.harness.report import Figure, Measurement, machine, repeat
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.workload import Network, Workload
from benchmarks.load.closed_loop import served

TARGETS = {Network.LARGE: 0.85, Network.SHIPPED: 0.70}
_WARM_UP_S = 2


def measure(work: Workload, connections: int, seconds: float, rounds: int) -> Measurement:
    """Closed loop; the bound is measured anew in every round, beside the server that then is idle."""
    facts = work.facts | machine()
    requests = classify(work.pictures)
    with serving(work) as ours:
        facts["engine"] = ours.engine
        check(ours.url, requests)
        served(ours.url, requests, connections, _WARM_UP_S)

        def once() -> dict[str, float]:
            cost = costs.measure(work.store, work.model, work.pictures)
            facts["engine alone"] = f"{cost.engine_name}, fastest with {cost.batch} at a time"
            closed = served(ours.url, requests, connections, seconds)
            return {
                "served": closed.rate,
                "bound": cost.bound,
                "share": closed.rate / cost.bound,
                "decode": cost.decode.cpu_s * 1000,
                "engine": cost.engine.cpu_s * 1000,
                "head": cost.head.cpu_s * 1000,
            }

        found = repeat(rounds, once)
    parts = [Figure(f"{name}, of all cores", found[name], "CPU ms an image") for name in ("decode", "engine", "head")]
    return Measurement(
        f"Served at {connections} connections: {work.title}",
        [
            Figure("served", found["served"], "images/s"),
            Figure("bound", found["bound"], "images/s"),
            Figure("served, share of the bound", found["share"], at_least=TARGETS[work.network]),
            *parts,
        ],
        facts,
    )
