"""Many classifiers on one extractor, compared with one classifier: throughput, latency and memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.harness.report import Figure, Measurement, machine_facts, run_rounds
from benchmarks.harness.scenario import Scenario
from benchmarks.harness.server import check_answers, classify_requests, serve
from benchmarks.harness.stores import HEAD_COUNT, head_names, many_heads_store
from benchmarks.harness.workload import Workload, make_workload
from benchmarks.load import closed_loop
from benchmarks.options import (
    DEFAULT_CACHE,
    CacheOption,
    ConnectionsOption,
    ImageSize,
    InputSize,
    RoundsOption,
    SecondsOption,
)
from models.artifacts.store import Store
from models.manifests import HEAD_FILE

MIN_SPREAD_RATIO, MAX_THREE_RATIO, MAX_HEAD_MB = 0.95, 1.1, 5.0
_MB = 1e6


def run(
    connections: ConnectionsOption = 32,
    seconds: SecondsOption = 8,
    rounds: RoundsOption = 3,
    cache: CacheOption = DEFAULT_CACHE,
) -> Measurement:
    """Throughput with twenty classifiers on one extractor, compared with one classifier."""
    return measure(make_workload(InputSize.LARGE, ImageSize.WEB, cache), cache, connections, seconds, rounds)


SCENARIO = Scenario("heads", run, needs_wrk=True)


def measure(workload: Workload, cache: Path, connections: int, seconds: float, rounds: int) -> Measurement:
    """Measure requests spread over all classifiers, requests for three at once, and the memory of each classifier."""
    facts = workload.facts | machine_facts()
    store, names = many_heads_store(cache), head_names()
    one = classify_requests(workload.images, f"?model={names[0]}")
    three = classify_requests(workload.images, f"?model={','.join(names[:3])}")
    spread = [request for name in names for request in classify_requests(workload.images, f"?model={name}")]
    with serve(workload) as server:
        check_answers(server.url, one)
        single_head_mb = server.resident_mb
    with serve(replace(workload, store=store, model=names[0])) as server:
        facts["engine"] = server.engine
        one_request_per_head = spread[:: len(workload.images)]
        for requests in (one, three, one_request_per_head):
            check_answers(server.url, requests)
        mb_per_head = (server.resident_mb - single_head_mb) / (HEAD_COUNT - 1)

        def measure_once() -> dict[str, float]:
            rate_one = closed_loop.run(server.url, one, connections, seconds).rate
            rate_spread = closed_loop.run(server.url, spread, connections, seconds).rate
            p50_one, p50_three = (closed_loop.run(server.url, requests, 1, seconds).p50_s for requests in (one, three))
            return {
                "one": rate_one,
                "spread": rate_spread,
                "spread / one": rate_spread / rate_one,
                "three / one": p50_three / p50_one,
            }

        values = run_rounds(rounds, measure_once)
    file_mb = [len(Store(store).classifier(name).read(HEAD_FILE)) / _MB for name in names]
    return Measurement(
        f"{HEAD_COUNT} classifiers on one extractor: {workload.title}",
        [
            Figure("requests for one classifier", values["one"], "images/s"),
            Figure(f"requests spread over {HEAD_COUNT} classifiers", values["spread"], "images/s"),
            Figure("spread / one", values["spread / one"], at_least=MIN_SPREAD_RATIO),
            Figure("p50 of one client, three classifiers / one", values["three / one"], at_most=MAX_THREE_RATIO),
            Figure("memory per additional classifier", [mb_per_head], "MB", at_most=MAX_HEAD_MB),
            Figure("mean size of a head's file", [sum(file_mb) / len(file_mb)], "MB"),
        ],
        facts,
    )
