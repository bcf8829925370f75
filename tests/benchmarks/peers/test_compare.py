from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness.workload import Workload
from benchmarks.options import ImageSize
from benchmarks.peers import compare
from benchmarks.peers.contenders import PEERS
from benchmarks.peers.results_log import ResultsLog


def test_our_server_is_compared_with_the_fastest_peer_of_each_setup(
    tiny_workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All results are in the log already: no server is started and no image is sent."""
    monkeypatch.setattr(compare, "generate_images", lambda size: [])  # 4000x3000 takes seconds
    rates = {"ours": 90, "litserve (a)": 20, "mosec (a)": 30, "litserve (b)": 60, "mosec (b)": 50}
    results: dict[str, object] = {"what our server answers": {"engine": "fixture:float32", "labels": {}}}
    for name, rate in rates.items():
        for number in (1, 2):
            peak = {size: {"rate": rate * number, "refused": 0} for size in ImageSize}
            results[f"round {number}, peak of {name}"] = peak
    for name, p99, best_peer, rate_of_tail in (
        ("ours", 0.2, "mosec (a)", 31.5),
        ("mosec (a)", 0.4, "mosec (a)", 31.5),
        ("ours", 0.3, "litserve (b)", 63.0),
        ("litserve (b)", 0.3, "litserve (b)", 63.0),
    ):
        for number in (1, 2):
            key = f"round {number}, tail of {name} beside {best_peer} at {rate_of_tail:.2f}/s"
            results[key] = {"rate": rate_of_tail, "p99": p99, "failed": 0}
    file = tmp_path / "results.jsonl"
    file.write_text("\n".join(json.dumps({"settings": {}, "key": key, "found": results[key]}) for key in results))

    log = ResultsLog(file, {})
    benchmark = compare.PeerBenchmark(tiny_workload, 32, 3, 2, log, print_line=lambda line: None)
    peers = [peer for peer in PEERS if peer.folder in ("litserve", "mosec")]
    figures = {figure.name: figure for figure in compare.measure(benchmark, peers, tmp_path).figures}
    speedup = figures["ours / best peer in setup a (mosec (a)), 500x375"]
    assert (speedup.values, speedup.is_met) == ([3, 3], True)
    assert figures["ours / best peer in setup b (litserve (b)), 500x375"].values == [1.5, 1.5]
    assert figures["p99, ours / best peer in setup a"].is_met
    assert not figures["p99, ours / best peer in setup b"].is_met
