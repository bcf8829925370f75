"""Many classifiers on one extractor: what they cost beside a single one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.harness.report import Figure, Measurement, machine, repeat
from benchmarks.harness.server import check, classify, serving
from benchmarks.harness.stores import HEADS, head_names, many_heads_store
from benchmarks.harness.workload import Workload
from benchmarks.load.closed_loop import served
from benchmarks.load.request import Request
from models.artifacts.store import Store
from models.manifests import HEAD_FILE

SPREAD, THREE, MEGABYTES = 0.95, 1.1, 5.0
_MB = 1e6


def measure(work: Workload, cache: Path, connections: int, seconds: float, rounds: int) -> Measurement:
    """Requests spread over all classifiers beside those for one; three in one request beside one; memory of each."""
    facts = work.facts | machine()
    store, names = many_heads_store(cache), head_names()
    one = classify(work.pictures, f"?model={names[0]}")
    three = classify(work.pictures, f"?model={','.join(names[:3])}")
    spread = [request for name in names for request in classify(work.pictures, f"?model={name}")]
    with serving(work) as single:
        check(single.url, one)
        resident_one = single.resident_mb
    with serving(replace(work, store=store, model=names[0])) as ours:
        facts["engine"] = ours.engine
        for requests in (one, three, spread[:: len(work.pictures)]):
            check(ours.url, requests)
        each_mb = (ours.resident_mb - resident_one) / (HEADS - 1)

        def once() -> dict[str, float]:
            return _once(ours.url, one, three, spread, connections, seconds)

        found = repeat(rounds, once)
    files = [len(Store(store).classifier(name).read(HEAD_FILE)) / _MB for name in names]
    return Measurement(
        f"{HEADS} classifiers on one extractor: {work.title}",
        [
            Figure("requests for one classifier", found["one"], "images/s"),
            Figure(f"requests spread over {HEADS}", found["spread"], "images/s"),
            Figure("spread over one", found["spread/one"], at_least=SPREAD),
            Figure("one client, three classifiers over one (p50)", found["three/one"], at_most=THREE),
            Figure("memory of a classifier more", [each_mb], "MB", at_most=MEGABYTES),
            Figure("its file", [sum(files) / len(files)], "MB"),
        ],
        facts,
    )


def _once(
    url: str, one: list[Request], three: list[Request], spread: list[Request], connections: int, seconds: float
) -> dict[str, float]:
    rate_one = served(url, one, connections, seconds).rate
    rate_spread = served(url, spread, connections, seconds).rate
    p50_one, p50_three = (served(url, requests, 1, seconds).p50 for requests in (one, three))
    return {
        "one": rate_one,
        "spread": rate_spread,
        "spread/one": rate_spread / rate_one,
        "three/one": p50_three / p50_one,
    }
